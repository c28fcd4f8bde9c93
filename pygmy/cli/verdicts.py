"""The verdict of an audit in words, as `pygmy audit` prints it."""

from pygmy.audit import Report, Verdict
from pygmy.cli.terminal import money, paint, printable, say, tell


def show_verdict(verdict: Verdict) -> None:
    """The verdict in words: a line a copy, then what is wrong with it; then the copies together."""
    for report in verdict.copies:
        say(copy_line(report))
        for finding in report.findings:
            say(paint(f"  {printable(str(finding))}", "red"))
        if (more := report.problems - len(report.findings)) > 0:
            say(paint(f"  and {more:,} more", "red"))
        for remark in report.remarks:
            say(f"  {printable(remark)}")
    for problem in verdict.problems:
        say(paint(f"BROKEN: {printable(problem)}", "red"))
    for remark in verdict.remarks:
        say(printable(remark))
    if verdict.waiting:
        sales = "1 sale waits for its order" if verdict.waiting == 1 else f"{verdict.waiting:,} sales wait for orders"
        say(paint(f"{sales}: order servers write them when the store runs", "yellow"))
    for copy in verdict.unaudited:
        tell(f"{printable(copy.name)}: not audited: {printable(copy.why)}", "red")


def copy_line(report: Report) -> str:
    """`catalog-0: sound: 12 batches, 15 entries, head 3-12 9f3c..., 7 books, 27,158 copies in stock, 42 sold`."""
    word = paint("sound", "green") if report.sound else paint("BROKEN", "red")
    epoch, seq = report.head
    log = f"{_count(report.batches, 'batch', 'batches')}, {_count(report.entries, 'entry', 'entries')}"
    head = f"head {epoch}-{seq} {report.head_hash[:8]}"
    return f"{printable(report.name)}: {word}: {log}, {printable(head)}, {_figures(report)}"


def _figures(report: Report) -> str:
    figures = report.figures
    if report.tier == "order":
        return f"{_count(figures.orders, 'order', 'orders')}, {money(figures.total / 100)} in all"
    books = _count(figures.books, "book", "books")
    return f"{books}, {_count(figures.in_stock, 'copy', 'copies')} in stock, {figures.sold:,} sold"


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
