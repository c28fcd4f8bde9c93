"""SVG, element by element."""

from collections.abc import Iterable
from html import escape


def text_of(value: object) -> str:
    """A number without a tail of digits, anything else as it is; safe in an attribute and between tags."""
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value), quote=True)


def element(name: str, *children: str, title: str = "", text: str = "", **attributes: object) -> str:
    """`<name attributes>children</name>`. `title` shows on hover; a trailing or inner _ of an attribute is a -."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text_of(value)}"' for key, value in attributes.items() if value != ""
    )
    inner = (f"<title>{text_of(title)}</title>" if title else "") + text_of(text) + "".join(children)
    return f"<{name}{words}>{inner}</{name}>" if inner else f"<{name}{words}/>"


def path(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """The `d` of a path through the points."""
    steps = "L".join(f"{text_of(float(x))} {text_of(float(y))}" for x, y in points)
    return f"M{steps}{'Z' if closed else ''}" if steps else ""


def dots(points: Iterable[tuple[float, float]]) -> str:
    """The `d` of a path that is one dot at each point, where its line ends are round."""
    return "".join(f"M{text_of(float(x))} {text_of(float(y))}h0" for x, y in points)
