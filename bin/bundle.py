"""Bundle the script and the stylesheet: `python bin/bundle.py`, and the build hook of the wheel.

A page then loads two files instead of thirty, compressed. esbuild comes from npm. Without npm nothing is written, and
pages load the modules of frontend/ as they are. The bundle lies beside them and is not committed.
"""

import gzip
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A link to frontend/ in the repository, and a folder in a source distribution.
FRONTEND = ROOT / "exports" / "static" / "exports"
TOOLS = ROOT / "var" / "npm"
ESBUILD = "esbuild@0.28.2"
# npm asks a registry out of reach for minutes.
INSTALL_SECONDS = 60.0


def bundle() -> bool:
    """Write bundle.js and bundle.css, also compressed. Return False if there is no npm, or if it is out of reach."""
    sys.path.insert(0, str(ROOT))
    from exports.http.assets import digest, is_bundle_current

    if is_bundle_current(FRONTEND):
        return True
    npm, program = shutil.which("npm"), TOOLS / "node_modules" / ".bin" / "esbuild"
    if npm is None:
        return False
    if not program.exists():
        TOOLS.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(TOOLS), "--no-save", "--no-audit", "--no-fund", ESBUILD]
        try:
            subprocess.run(install, capture_output=True, check=True, timeout=INSTALL_SECONDS)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
    for source, name in (("exports.css", "bundle.css"), ("exports.js", "bundle.js")):
        target = FRONTEND / name
        options = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"]
        comment = f"--banner:{target.suffix[1:]}=/* {digest(FRONTEND)} */"
        subprocess.run([program, FRONTEND / source, *options, comment, f"--outfile={target}"], check=True)
        target.with_name(f"{name}.gz").write_bytes(gzip.compress(target.read_bytes(), mtime=0))
    return True


def get_build_hook() -> type[Any]:
    """Return the hook that hatchling calls before it builds the wheel."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class Bundle(BuildHookInterface):  # type: ignore[type-arg] # not subscriptable at run time
        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if version != "editable" and not bundle():
                self.app.display_warning("The script is not bundled: npm is missing or out of reach.")

    return Bundle


if __name__ == "__main__":
    bundle()
