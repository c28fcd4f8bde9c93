"""What a page is made of."""

from collections.abc import Sequence

from msgspec import Struct

from pygmy.pages.figure import Figure


class Text(Struct, frozen=True):
    """A paragraph. `colour`: as of a series; a paragraph that has one stands out."""

    text: str
    colour: str = ""


class Code(Struct, frozen=True):
    """Lines as they are."""

    text: str


class Facts(Struct, frozen=True):
    """Names and what they are, in two columns."""

    facts: Sequence[tuple[str, str]]


class Cell(Struct, frozen=True):
    """A cell with a link, or a colour."""

    text: str
    link: str = ""
    colour: str = ""


class Table(Struct, frozen=True):
    """`align`: a letter a column, l or r; the last one holds for the rest."""

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    align: str = "l"


class Picture(Struct, frozen=True):
    """A drawing of one's own: the whole <svg>, for wide windows and for phones."""

    wide: str
    narrow: str = ""


class Fold(Struct):
    """What is shown when it is asked for."""

    summary: str
    parts: "Sequence[Part]"


Part = Text | Code | Facts | Table | Figure | Picture | Fold


class Section(Struct):
    """One part of a page. `id`: for links to it. `badge`: a word and its colour, beside the title."""

    title: str
    parts: Sequence[Part]
    id: str = ""
    badge: tuple[str, str] | None = None


class Page(Struct):
    """A whole page; `lead` says in a sentence or two what it is."""

    title: str
    lead: str
    sections: Sequence[Section]
    foot: str = ""
