"""Histories in Jepsen's form (EDN), for its tools: one map an event, in order of time."""

import json
from collections.abc import Iterable, Iterator

from pygmy.checker.history import Orders, Page, Read, Record, Write
from pygmy.messages.operations import AddBook, ChangeBook, Ordered, RemoveBook, Sell, Shelved, Sold

_NAMES = {Sell: "buy", ChangeBook: "change", AddBook: "add", RemoveBook: "remove"}
_TOOK_EFFECT = (Ordered, Sold, Shelved)


def events(history: Iterable[Record]) -> Iterator[str]:
    """`:invoke` and `:ok`/`:fail`/`:info` events with :process, :f, :value, :time (ns) and :index."""
    moments: list[tuple[float, int, str, str, str, int]] = []
    processes: dict[str, int] = {}
    for record in history:
        if isinstance(record, Write | Read | Page | Orders):
            process = processes.setdefault(record.client, len(processes))
            name, asked, told, end = _described(record)
            moments.append((record.invoked, 0, "invoke", name, asked, process))
            if record.answered is not None:
                moments.append((record.answered, 1, end, name, told, process))
    moments.sort()
    for index, (at, _, kind, name, value, process) in enumerate(moments):
        yield (
            f"{{:index {index}, :time {round(at * 1e9)}, :type :{kind}, :process {process},"
            f" :f :{name}, :value {value}}}"
        )


def _described(record: Write | Read | Page | Orders) -> tuple[str, str, str, str]:
    """(function, value asked with, value answered, type of the answer)."""
    if isinstance(record, Read):
        return "read", f"[{record.item} nil]", f"[{record.item} {record.book.count if record.book else 'nil'}]", "ok"
    if isinstance(record, Page):
        where = f"{_quoted(record.topic)} {record.after}"
        return "list", f"[{where} nil]", f"[{where} [{' '.join(str(item) for item, _ in record.books)}]]", "ok"
    if isinstance(record, Orders):
        return "orders", f"[{record.after} nil]", f"[{record.after} {len(record.orders)}]", "ok"
    operation = record.operation
    lines = ""
    if isinstance(operation, Sell):
        lines = " ".join(f"[{line.item} {line.quantity}]" for line in operation.lines)
    elif isinstance(operation, ChangeBook | RemoveBook):
        lines = f"[{operation.item} {getattr(operation, 'increment', None) or 0}]"
    value = f'["{record.op_id}" {lines}]' if lines else f'["{record.op_id}"]'
    kind = "ok" if isinstance(record.outcome, _TOOK_EFFECT) else "fail"
    return _NAMES.get(type(operation), "other"), value, value, kind


def _quoted(text: str | None) -> str:
    return "nil" if text is None else json.dumps(text, ensure_ascii=False)
