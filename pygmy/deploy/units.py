"""systemd's units for nodes, made from the two texts in `unitfiles`.

A template for each role, and between them targets that order them where several run on one host: at shutdown front
ends stop first, then order servers, then catalog servers, so that whoever asks is gone before whoever answers.
"""

from importlib import resources

from pygmy.cluster import Role

CATALOGS, ORDERS = "pygmy-catalog.target", "pygmy-order.target"
_NONE = "CapabilityBoundingSet=\nPrivateUsers=yes"
_PORTS = "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE"  # 80, 443
_PLACES = {
    Role.CATALOG: {"@TARGETS@": CATALOGS, "@AFTER@": "", "@BEFORE@": CATALOGS, "@CAPABILITIES@": _NONE},
    Role.ORDER: {"@TARGETS@": ORDERS, "@AFTER@": CATALOGS, "@BEFORE@": ORDERS, "@CAPABILITIES@": _NONE},
    Role.FRONTEND: {"@TARGETS@": "", "@AFTER@": f"{CATALOGS} {ORDERS}", "@BEFORE@": "", "@CAPABILITIES@": _PORTS},
}


def units() -> dict[str, str]:
    """Each unit's text by its name. `@PREFIX@` in it is put in on the host."""
    node, target = _text("node.service"), _text("tier.target")
    files = {f"pygmy-{role}@.service": _filled(node, {"@ROLE@": str(role), **_PLACES[role]}) for role in Role}
    files |= {f"pygmy-{role}.target": target.replace("@ROLE@", role) for role in (Role.CATALOG, Role.ORDER)}
    return files


def _text(name: str) -> str:
    return (resources.files("pygmy.deploy") / "unitfiles" / name).read_text()


def _filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines() if line != "Before=")
