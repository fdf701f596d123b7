"""The check for known vulnerabilities: when it fails, and what it says."""

import pytest

from tests import vulnerabilities
from tests.vulnerabilities import Package

CLEAN: Package = {"name": "good", "version": "1.0", "vulns": []}
FIXED: Package = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
NOT_FIXED: Package = {"name": "worse", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
SKIPPED: Package = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"}


@pytest.mark.parametrize(
    ("packages", "code", "lines"),
    [
        ([CLEAN, CLEAN], 0, ["2 packages were audited."]),
        (
            [CLEAN, FIXED, NOT_FIXED],
            1,
            [
                "bad 1.0: PYSEC-1, fixed in 1.1.",
                "worse 2.0: PYSEC-2, fixed in no version.",
                "3 packages were audited.",
            ],
        ),
        (
            [CLEAN, SKIPPED],
            0,
            ["1 packages were audited, 1 were not: no advisories could be downloaded for them."],
        ),
        ([SKIPPED], 0, ["No package was audited: the advisories could not be downloaded."]),
        ([], 0, ["No package was audited: the advisories could not be downloaded."]),
    ],
)
def test_only_vulnerabilities_fail(
    packages: list[Package],
    code: int,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(vulnerabilities, "audit", lambda: packages)
    assert vulnerabilities.main() == code
    assert capsys.readouterr().out.splitlines() == lines


def test_an_audit_that_fails_or_hangs_finds_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vulnerabilities, "COMMAND", ("-c", "print('no JSON')"))
    assert vulnerabilities.audit() == ()
    monkeypatch.setattr(vulnerabilities, "COMMAND", ("-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(vulnerabilities, "TIMEOUT_SECONDS", 0.1)
    assert vulnerabilities.audit() == ()
