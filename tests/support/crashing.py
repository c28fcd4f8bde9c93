"""A process that ends in the middle of its work, at a place of the test's choosing."""

import os
import sys
from collections.abc import Callable
from typing import Any


def crash_after(calls: int, counted: dict[Any, tuple[str, ...]], work: Callable[[], object]) -> bool:
    """Do the work in a child process that ends at once in place of one call more than so many.

    `counted` are the functions that count, by the module or class that they are in. True if the work was done before.
    """
    child = os.fork()
    if not child:
        code = 2
        try:
            _count_down(calls, counted)
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "the work failed by itself"
    return code == 0


def _count_down(calls: int, counted: dict[Any, tuple[str, ...]]) -> None:
    left = iter(range(calls))

    def counting(original: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if next(left, None) is None:
                os._exit(1)
            return original(*arguments, **options)

        return call

    for owner, names in counted.items():
        for name in names:
            setattr(owner, name, counting(getattr(owner, name)))
