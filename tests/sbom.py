"""Write the bill of materials of the runnable application, as CycloneDX JSON, from requirements.lock.

python -m tests.sbom FILE
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKED = re.compile(r"(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})")


def locked() -> list[dict[str, str]]:
    """Return the name, version and sha256 of each package of requirements.lock. Raise ValueError for any other line."""
    packages = []
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.startswith("#"):
            continue
        found = LOCKED.fullmatch(line)
        if found is None:
            raise ValueError(f"requirements.lock has a line that is not pinned and hashed: {line}")
        packages.append(found.groupdict())
    return packages


def bill() -> dict[str, Any]:
    components = []
    for package in locked():
        name = re.sub(r"[-_.]+", "-", package["name"]).lower()
        purl = f"pkg:pypi/{name}@{package['version']}"
        hashes = [{"alg": "SHA-256", "content": package["sha256"]}]
        components.append(
            {"type": "library", "bom-ref": purl, "purl": purl, "name": name, "version": package["version"]}
            | {"hashes": hashes}
        )
    return {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1))
    print(f"{len(bill()['components'])} packages are in {sys.argv[1]}.")
