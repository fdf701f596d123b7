"""Check the installed packages for known vulnerabilities by pip-audit: a part of `bin/test all`.

    python -m tests.vulnerabilities

Fails if a package has one, and names the version that fixes it. If the advisories cannot be downloaded, it says so and
passes.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NotRequired, TypedDict

COMMAND = ("-m", "pip_audit", "--local", "--format", "json", "--progress-spinner", "off", "--timeout", "15")
TIMEOUT_SECONDS = 300.0


class Vulnerability(TypedDict):
    id: str
    fix_versions: list[str]


class Package(TypedDict):
    name: str
    version: NotRequired[str]
    vulns: NotRequired[list[Vulnerability]]
    skip_reason: NotRequired[str]


def main() -> int:
    packages = audit()
    lines = report(packages)
    print("\n".join(lines))
    return 1 if len(lines) > 1 else 0


def audit() -> Sequence[Package]:
    """Return what pip-audit found for each package, or nothing if it failed or took too long."""
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
        return json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return ()


def report(packages: Sequence[Package]) -> list[str]:
    """Return a line for each vulnerability, and a last one with the number of packages."""
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return ["No package was audited: the advisories could not be downloaded."]
    lines = []
    for package in audited:
        for vulnerability in package.get("vulns", ()):
            fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
            lines.append(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}.")
    skipped = len(packages) - len(audited)
    without = f", {skipped} were not: no advisories could be downloaded for them" if skipped else ""
    return [*lines, f"{len(audited)} packages were audited{without}."]


if __name__ == "__main__":
    sys.exit(main())
