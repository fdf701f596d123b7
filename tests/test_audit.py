"""The audit of the packages: what it fails for, and that it does not claim to have looked where it could not."""

from typing import Any

import pytest

from tests import audit

CLEAN = {"name": "good", "version": "1.0", "vulns": []}
FLAWED = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"], "description": ""}]}
UNMENDED = {"name": "worse", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": [], "description": ""}]}
UNKNOWN = {"name": "ours", "skip_reason": "Dependency not found on PyPI and could not be audited: ours (1.0)"}


def test_packages_without_a_finding_pass():
    assert audit.verdict([CLEAN, CLEAN]) == "2 packages were audited."


def test_a_finding_is_named_with_what_mends_it():
    assert audit.verdict([CLEAN, FLAWED, UNMENDED]).splitlines() == [
        "bad 1.0: PYSEC-1, mended in 1.1.",
        "worse 2.0: PYSEC-2, mended in no version yet.",
        "3 packages were audited.",
    ]


def test_what_could_not_be_audited_is_counted():
    assert audit.verdict([CLEAN, UNKNOWN]).endswith(
        "1 packages were audited, 1 not: their advisories cannot be had from here."
    )


@pytest.mark.parametrize("packages", [[], [UNKNOWN]])
def test_where_nothing_could_be_audited_that_is_said(packages: list[Any]):
    assert audit.verdict(packages) == "Nothing was audited: the advisories cannot be had from here."


@pytest.mark.parametrize(("packages", "code"), [([CLEAN], 0), ([UNKNOWN], 0), ([], 0), ([CLEAN, FLAWED], 1)])
def test_only_a_finding_fails(monkeypatch: pytest.MonkeyPatch, packages: list[Any], code: int):
    monkeypatch.setattr(audit, "audited", lambda: packages)
    assert audit.main() == code


def test_an_auditor_that_says_nothing_or_hangs_has_audited_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(audit, "COMMAND", ("-c", "print('no JSON')"))
    assert audit.audited() == ()
    monkeypatch.setattr(audit, "COMMAND", ("-c", "import time; time.sleep(60)"))
    monkeypatch.setattr(audit, "SECONDS", 0.1)
    assert audit.audited() == ()
