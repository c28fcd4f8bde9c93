"""Views: how one follows from another. Pure functions on `View` values (rules V1, V2)."""

from msgspec.structs import replace

from pygmy.messages.replication import View


def birth(members: dict[str, int]) -> View:
    """V0: the first view, of nodes that have never held anything: each is a source."""
    return View(1, 0, members, frozenset(members), min(members))


def with_members(view: View, members: dict[str, int]) -> View | None:
    """V1: the next epoch with these members; None where no source would be left."""
    sources = view.sources & frozenset(members)
    if not sources:
        return None
    return View(view.epoch + 1, 0, members, sources, min(sources))


def without(view: View, gone: frozenset[str]) -> View | None:
    """V2: the next epoch without these members."""
    return with_members(view, {node: inc for node, inc in view.members.items() if node not in gone})


def joined(view: View, node: str, incarnation: int) -> View | None:
    """V2: the next epoch with one more member; it becomes a source once the epoch is active."""
    return with_members(view, {**view.members, node: incarnation})


def forced(view: View, node: str, incarnation: int) -> View:
    """The next epoch with this node alone, whatever the sources had: an operator says that they are gone."""
    return View(view.epoch + 1, 0, {node: incarnation}, frozenset({node}), node)


def all_sources(view: View) -> View:
    """The same epoch, of which every member is known by now to hold every acknowledged write."""
    return replace(view, gen=view.gen + 1, sources=frozenset(view.members))
