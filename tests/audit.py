"""The installed packages against the published advisories, by pip-audit: part of `bin/test all`.

    python -m tests.audit

Fails where a package has a known vulnerability, and says which version mends it. Where the advisories cannot be had, as
without a network or behind an index that does not carry them, it says so in a line and fails nothing.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COMMAND = ("-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off", "--timeout", "15")
SECONDS = 300.0

Package = Mapping[str, Any]


def main() -> int:
    packages = audited()
    print(verdict(packages))
    return 1 if [*findings(packages)] else 0


def audited() -> Sequence[Package]:
    """What pip-audit says of each package; nothing where it could not say it."""
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=SECONDS)
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return ()


def findings(packages: Sequence[Package]) -> Iterator[str]:
    for package in packages:
        for flaw in package.get("vulns", ()):
            mended = ", ".join(flaw["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {flaw['id']}, mended in {mended}."


def verdict(packages: Sequence[Package]) -> str:
    """A line for each finding, and a last one that says how much was audited."""
    seen = [package for package in packages if "skip_reason" not in package]
    if not seen:
        return "Nothing was audited: the advisories cannot be had from here."
    unknown = len(packages) - len(seen)
    left = f", {unknown} not: their advisories cannot be had from here" if unknown else ""
    return "\n".join([*findings(packages), f"{len(seen)} packages were audited{left}."])


if __name__ == "__main__":
    sys.exit(main())
