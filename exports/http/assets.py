"""Which script and stylesheet pages load: the bundle of bin/bundle.py if it is current, or else the modules themselves.

Imports only the standard library, because the build of the wheel uses it.
"""

import hashlib
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "static" / "exports"


def digest(folder: Path) -> str:
    """Return a hash of the modules and the stylesheet in `folder`."""
    sources = sorted(path for path in folder.iterdir() if path.suffix in (".js", ".css") and path.stem != "bundle")
    together = b"".join(b"%s\0%s\0" % (path.name.encode(), path.read_bytes()) for path in sources)
    return hashlib.sha256(together).hexdigest()


def is_bundle_current(folder: Path) -> bool:
    """Return True if `folder` has a bundle of the present modules; its first line names them."""
    bundle = folder / "bundle.js"
    return bundle.exists() and bundle.read_text().startswith(f"/* {digest(folder)} */")


@cache
def stem() -> str:
    """Return the name, without suffix, of the script and the stylesheet to load. Read once in each process."""
    return "bundle" if is_bundle_current(FOLDER) else "exports"
