"""The reference pages of docs/ list what the code has: commands, tags, attributes, parts, properties, templates."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from exports.conf import DEFAULTS
from exports.exporters import Column, QuerySetExport
from project import environment
from tests import docs_tables
from tests.doc_blocks import ROOT
from tests.test_migration_guide import rows_of

COMPONENTS = (ROOT / "docs" / "components.md").read_text()
TEMPLATES = ROOT / "exports" / "templates"
NAME = re.compile(r"[a-z-]+")


@pytest.mark.parametrize("page", docs_tables.TABLES)
def test_generated_tables_are_up_to_date(page: str):
    written = docs_tables.documented(page)
    assert written == docs_tables.made(page), f"docs/{page} differs. Write it again: python -m tests.docs_tables"


# Settings


def test_settings_are_listed_with_unit_default_and_variable():
    listed = {name: cells for name, *cells in rows_of((ROOT / "docs" / "settings.md").read_text(), "Setting")}
    assert list(listed) == list(DEFAULTS)
    variables = variables_of_the_demo()
    for name, (kind, unit, default, meaning, variable) in listed.items():
        assert ast.literal_eval(default) == DEFAULTS[name], name
        assert (kind != "-", bool(unit), meaning.endswith(".")) == (True, True, True), name
        assert variable == variables.get(name, "-"), name


def variables_of_the_demo() -> dict[str, str]:
    """Return the environment variable that sets each setting in project/settings.py."""
    source = (ROOT / "project" / "settings.py").read_text()
    assigned = dict(re.findall(r'^(\w+) = .*?env\.\w+\(\s*"(\w+)"', source, re.MULTILINE))
    exports = source[source.index("EXPORTS = {") :]
    variables = dict(re.findall(r'^    "(\w+)": env\.\w+\("(\w+)"', exports, re.MULTILINE))
    for name, value in re.findall(r'^    "(\w+)": ([A-Z_]+),$', exports, re.MULTILINE):
        variables[name] = assigned[value]
    numbers = environment.numbers({f"EXPORTS_{name}": "1" for name in DEFAULTS}, DEFAULTS, prefix="EXPORTS_")
    return {**variables, **dict.fromkeys(numbers, "EXPORTS_*"), "LOG_EXCEPTIONS": "LOG_EXCEPTIONS"}


def test_the_variables_of_the_demo_are_those_that_its_code_reads():
    sources = [*(ROOT / "project").rglob("*.py"), ROOT / "Procfile"]
    read = re.compile(r'\benv\.\w+\(\s*"(\w+)"|\$\{(\w+)')
    variables = {name or named for path in sources for name, named in read.findall(path.read_text())}
    rows = rows_of((ROOT / "docs" / "deploying.md").read_text(), "Variable")
    listed = {name for cells in rows for name in re.findall(r"[A-Z]\w+", cells[0])}
    # boto3 reads its credentials itself; the settings of the app are in settings.md.
    assert {name for name in listed if not name.startswith("AWS_")} - {"EXPORTS_"} == variables


# The exporter API, which mkdocstrings makes of docstrings


@pytest.mark.parametrize("declared", [*QuerySetExport.__mro__[:2], Column])
def test_docstrings_list_every_attribute_of_an_exporter(declared: type):
    attributes = re.findall(
        r"^    (\w[\w, ]*):", (inspect.getdoc(declared) or "").split("Attributes:")[1], re.MULTILINE
    )
    assert {name for each in attributes for name in each.split(", ")} == set(inspect.get_annotations(declared))


def test_the_page_of_the_api_shows_every_hook():
    page = (ROOT / "docs" / "exporter-api.md").read_text()
    hooks = {name for name in vars(QuerySetExport) if re.match(r"(get|has)_", name)} - {
        "get_options_form",
        "has_sheets",
    }
    assert {name for name in hooks if name not in page} == set()


# Components


def section(element: str) -> str:
    return COMPONENTS.split(f"\n## {element}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize("element", ["export-form", "export-progress"])
def test_components_list_the_attributes_and_events_of_each_element(element: str):
    [described] = re.findall(r"\* Attributes: (.*?)\*/", (ROOT / "frontend" / f"{element}.js").read_text(), re.DOTALL)
    attributes = {each for each in re.findall(r"`([^`]+)`", described) if NAME.fullmatch(each)}
    assert {cells[0] for cells in rows_of(section(element), "Attribute")} == attributes
    assert {cells[0] for cells in rows_of(section(element), "Event")} == {*re.findall(r"export:[a-z]+", described)}


def test_components_list_every_part_of_a_card():
    card = (TEMPLATES / "exports" / "_progress.html").read_text()
    documented = {
        name for cells in rows_of(section("export-progress"), "`data-part`") for name in NAME.findall(cells[0])
    }
    assert documented == {*re.findall(r'data-part="([a-z-]+)"', card)}


def test_components_list_every_property_with_its_colours():
    text = (ROOT / "frontend" / "exports.css").read_text()
    light = dict(re.findall(r"^  (--export-[a-z-]+): (.+);$", text.split("@supports")[0], re.MULTILINE))
    both = dict(re.findall(r"(--export-[a-z-]+): light-dark\((.+)\);", text))
    rows = {cells[0]: cells[1:3] for cells in rows_of(COMPONENTS, "Property")}
    assert {name: cells[0] for name, cells in rows.items()} == light
    assert {name: ", ".join(cells) for name, cells in rows.items() if name in both} == both


# Templates


def test_the_page_of_templates_lists_each_one_with_its_blocks():
    listed = {
        cells[0]: re.findall(r"[\w-]*\w", cells[2])
        for cells in rows_of((ROOT / "docs" / "templates.md").read_text(), "Template")
    }
    assert listed == {str(path.relative_to(TEMPLATES)): blocks_of(path) for path in TEMPLATES.rglob("*.*")}


def blocks_of(path: Path) -> list[str]:
    return list(dict.fromkeys(re.findall(r"{% block ([\w-]+)", path.read_text())))
