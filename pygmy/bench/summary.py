"""The results in the terminal, ratios first."""

from pygmy.bench.results import Measured, Ratio, Run


def lines_of(measured: Measured) -> list[str]:
    """One measurement: its ratios, and what is to be known of them."""
    lines = [f"{measured.title} ({measured.name}, {measured.seconds:.0f} s)"]
    lines += [f"  {times(one):>8}  {one.what}" for one in measured.ratios]
    lines += [f"  failed: {measured.failed.splitlines()[0]}"] if measured.failed else []
    return lines + [f"  note: {warning}" for warning in measured.warnings]


def ends_of(run: Run) -> list[str]:
    """What stands at the end of a run: peers that could not be measured."""
    return [f"{name} could not run: {why}" for name, why in run.peers if why]


def times(ratio: Ratio) -> str:
    """`1.25 x`, with three digits that count."""
    return f"{shown(ratio.value)} x"


def shown(value: float) -> str:
    """A number with three digits that count, without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.{digits}f}"
