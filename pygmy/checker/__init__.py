"""The checker: is what clients saw of a store, together with its logs, linearizable, complete and conserved?

It knows nothing of how the store works: it takes a history (`pygmy.checker.history` says in which form), carries the
logs out again by its own rules and compares.  `python -m pygmy.checker FILE` prints the verdict.
"""

from pygmy.checker.verdict import Verdict, check

__all__ = ["Verdict", "check"]
