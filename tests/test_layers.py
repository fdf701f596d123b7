"""The rooms of docs/architecture.md: an import may point down, and within a line to the right; never up, never left."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From top to bottom, and in each line from left to right.
LINES = (
    ("project",),
    ("apps", "checks", "departures", "urls", "routing"),
    ("admin", "shortcuts", "views", "consumers", "management", "tasks", "templatetags"),
    ("doctor", "metrics", "vitals", "housekeeping", "services"),
    ("trail", "patterns"),
    ("runner", "heartbeat", "ceilings"),
    ("toolbox", "notifications", "delivery", "events", "journal", "presence", "doorbell"),
    ("serializers",),
    ("models", "sources", "fields", "storage"),
    ("writers", "cells", "progress"),
    ("signing", "conf", "http", "sockets", "faults", "exceptions"),
    ("migrations",),
)
# Django writes them, with the imports that it needs.
GENERATED = "exports.migrations."
PLACES = {room: (line, place) for line, rooms in enumerate(LINES) for place, room in enumerate(rooms)}
PATTERNS = (
    *("", "registry", "queryset", "huey", "handled", "base", "making", "stored", "table", "sheets"),
    *("criteria", "dataset"),
)

# Only these rooms may know the library; the rest of the app works without it.
KEEPERS = {
    "channels": {"events", "consumers", "routing"},
    "huey": {"doorbell", "tasks", "patterns.huey"},
    "xlsxwriter": {"writers"},
    "pyarrow": {"writers"},
    "health_check": {"views.operations"},
    "prometheus_client": {"metrics"},
    "boto3": {"storage.s3"},
    "botocore": {"storage.s3"},
}
WITHOUT_DJANGO = {"writers", "cells", "progress", "faults", "exceptions"}
LAZY = {"events": {"channels"}, "doorbell": {"huey", "redis"}}


@dataclass(frozen=True)
class Import:
    """One imported module, as `module` (a file's dotted name) has it in line `line`."""

    module: str
    target: str
    line: int
    is_lazy: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def imports_of(module: str, source: str) -> Iterator[Import]:
    """Every import of a module's source, those inside functions and under TYPE_CHECKING too, as absolute names."""
    tree = ast.parse(source)
    at_start = set(run_at_start(tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for target in targets_of(node, module):
                yield Import(module, target, node.lineno, is_lazy=node not in at_start)


def run_at_start(statements: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported: not the bodies of functions, nor those for type checkers."""
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_type_checkers(statement):
            continue
        yield statement
        for field in ("body", "orelse", "finalbody", "handlers"):
            yield from run_at_start(getattr(statement, field, []))


def is_for_type_checkers(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test)


def targets_of(node: ast.Import | ast.ImportFrom, module: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        parents = module.split(".")[: -node.level]
        base = ".".join([*parents, base]).rstrip(".")
    return [named if is_module(named := f"{base}.{alias.name}") else base for alias in node.names]


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or path.is_dir()


def room_of(module: str) -> str | None:
    """The room of a dotted name: `exports.cells.text` is in `cells`. None for what is not ours."""
    first, *rest = module.split(".")
    if first == "project":
        return "project"
    return rest[0] if first == "exports" and rest else None


def is_arrow_back(found: Import) -> bool:
    """Whether the import points up or left."""
    here, there = room_of(found.module), room_of(found.target)
    if here is None or there is None:
        return False
    if here == there == "patterns":
        return PATTERNS.index(part_of_patterns(found.target)) < PATTERNS.index(part_of_patterns(found.module))
    (from_line, from_place), (to_line, to_place) = PLACES[here], PLACES[there]
    return to_line < from_line or (to_line == from_line and to_place < from_place)


def part_of_patterns(module: str) -> str:
    return module.removeprefix("exports.patterns").removeprefix(".")


def knows(found: Import, library: str) -> bool:
    return found.target.split(".")[0] == library


def is_within(module: str, rooms: set[str]) -> bool:
    inside = module.removeprefix("exports.")
    return any(inside == room or inside.startswith(f"{room}.") for room in rooms)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_below(folder: str) -> list[Import]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    written = [path for path in paths if not module_name(path).startswith(GENERATED)]
    return [found for path in written for found in imports_of(module_name(path), path.read_text())]


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return imports_below("exports") + imports_below("project")


def listed(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def test_every_module_is_in_a_room_that_is_on_the_map():
    modules = {module_name(path) for path in (ROOT / "exports").rglob("*.py")} - {"exports"}
    assert {room_of(module) for module in modules} <= set(PLACES)
    assert {part_of_patterns(module) for module in modules if room_of(module) == "patterns"} <= set(PATTERNS)


def test_no_import_points_up_or_left(imports):
    assert (found := [each for each in imports if is_arrow_back(each)]) == [], listed(found)


def test_the_app_knows_neither_the_project_nor_the_tests(imports):
    strangers = {"project", "tests", "bench"}
    found = [each for each in imports if room_of(each.module) != "project" and each.target.split(".")[0] in strangers]
    assert found == [], listed(found)


@pytest.mark.parametrize("library", KEEPERS)
def test_a_library_is_known_in_its_own_rooms_only(imports, library):
    found = [each for each in imports if room_of(each.module) != "project" and knows(each, library)]
    found = [each for each in found if not is_within(each.module, KEEPERS[library])]
    assert found == [], listed(found)


def test_writers_cells_progress_and_exceptions_know_no_django(imports):
    found = [each for each in imports if knows(each, "django") and is_within(each.module, WITHOUT_DJANGO)]
    assert found == [], listed(found)


@pytest.mark.parametrize("room", LAZY)
def test_the_send_sides_import_their_libraries_only_when_used(imports, room):
    found = [each for each in imports if room_of(each.module) == room and not each.is_lazy]
    found = [each for each in found if any(knows(each, library) for library in LAZY[room])]
    assert found == [], listed(found)


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("exports.models.moves", "from exports.runner import run"),
        ("exports.models", "def late():\n    from exports import services"),
        ("exports.storage", "from exports.models import FileRequest"),
        ("exports.patterns.queryset", "from exports.patterns import registry"),
        ("exports.cells.text", "from ..models import FileRequest"),
        ("exports.views", "if TYPE_CHECKING:\n    from exports.urls import urlpatterns"),
    ],
)
def test_an_arrow_up_or_left_is_found(module, line):
    assert [is_arrow_back(found) for found in imports_of(module, line)] == [True]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("exports.runner", "from exports.models import moves"),
        ("exports.models.moves", "from exports import storage"),
        ("exports.cells.text", "from exports.cells.columns import Column"),
        ("exports.patterns.registry", "from exports.patterns.queryset import QuerySetExport"),
        ("project.urls", "import exports.urls"),
        ("exports.views", "import json"),
    ],
)
def test_an_arrow_down_or_to_the_right_is_fine(module, line):
    assert not any(is_arrow_back(found) for found in imports_of(module, line))


def test_an_import_inside_a_function_is_lazy_and_one_inside_try_is_not():
    source = "try:\n    import huey\nexcept ImportError:\n    pass\n\ndef ring():\n    import redis"
    assert {found.target: found.is_lazy for found in imports_of("exports.doorbell", source)} == {
        "huey": False,
        "redis": True,
    }
