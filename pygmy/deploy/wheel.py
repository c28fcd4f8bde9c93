"""A wheel of this very Pygmy, be it installed or a checkout: what runs here is what the hosts get.

Made by hand, from the files that are imported and the metadata that were installed with them (PyPA's "Binary
distribution format"): a build would need the build backend, which is not there where Pygmy is only installed, and the
network to fetch it.  Equal files make equal wheels.
"""

import base64
import hashlib
import io
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pygmy

PLUGIN = "twisted/plugins/pygmy_plugin.py"
LEFT_OUT = (".pyc", ".pyo")
WHEEL = "Wheel-Version: 1.0\nGenerator: pygmy deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def make_wheel() -> tuple[str, bytes]:
    """Its file name and content. FileNotFoundError: what Pygmy requires is not known, as it is not installed."""
    try:
        found = distribution("pygmy")
    except PackageNotFoundError:
        raise FileNotFoundError("Pygmy is not installed here, not even as a checkout (pip install -e).") from None
    name = f"pygmy-{found.version}"
    info = f"{name}.dist-info"
    files = {**_package(Path(pygmy.__file__).parent), **_metadata(found, info)}
    record = "".join(f"{path},{_digest(content)},{len(content)}\n" for path, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    return f"{name}-py3-none-any.whl", _zip(files)


def _package(home: Path) -> dict[str, bytes]:
    """Pygmy's own files, with the names they have in site-packages: a checkout is laid out likewise."""
    paths = [path for path in home.rglob("*") if path.is_file() and path.suffix not in LEFT_OUT]
    return {str(path.relative_to(home.parent)): path.read_bytes() for path in sorted([*paths, home.parent / PLUGIN])}


def _metadata(found: Distribution, info: str) -> dict[str, bytes]:
    texts = {name: found.read_text(name) for name in ("METADATA", "entry_points.txt")}
    if None in texts.values():
        raise FileNotFoundError("The metadata of the installed Pygmy are incomplete: install it again.")
    return {f"{info}/{name}": (text or "").encode() for name, text in {**texts, "WHEEL": WHEEL}.items()}


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _zip(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.external_attr = 0o100644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return target.getvalue()
