"""Names of the code that the pages mention in their sentences exist: settings, modules, functions, files, commands."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest
from django.apps import apps

from exports.conf import DEFAULTS
from tests.doc_blocks import FENCE, PAGES, ROOT
from tests.docs_tables import commands

# The changelog also names what is gone.
READ = [page for page in PAGES if page.name != "CHANGELOG.md"]
VERBS = {line.split()[2] for line in commands() if line.startswith("## ")}
TESTS = set(re.findall(r"def (test_\w+)", "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))))
FOLDERS = ("bench", "bin", "docs", "exports", "frontend", "project", "tests")
CODENAMES = {
    f"exports.{codename}"
    for model in apps.get_app_config("exports").get_models()
    for codename in [
        *(f"{verb}_{model._meta.model_name}" for verb in model._meta.default_permissions),
        *(codename for codename, _ in model._meta.permissions),
    ]
}


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_names_in_sentences_exist(page: Path):
    text = page.read_text()
    settings = re.findall(r'EXPORTS\["(\w+)"\]', text)
    assert [name for name in settings if name not in DEFAULTS] == []
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    assert [span for span in spans if not exists(span)] == []


def exists(span: str) -> bool:
    """Return False for a path of the repository, a name of the app, a test or a command that is not there."""
    if re.fullmatch(r"test_\w+", span):
        return span in TESTS
    if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span):
        return (ROOT / span).exists() or (ROOT / "exports" / "templates" / span).exists()
    if command := re.match(r"(?:python )?manage\.py exports ([a-z]+)", span):
        return command[1] in VERBS
    if not re.fullmatch(r"exports(\.\w+)+", span) or re.fullmatch(r"exports\.[EWI]\d+", span) or span in CODENAMES:
        return True
    try:
        return resolve_name(span) is not None
    except (AttributeError, ImportError):
        return False
