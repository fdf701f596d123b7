"""The fenced code blocks of the documentation, and what is done with each language in tests/test_docs_code.py."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError

ROOT: Final = Path(__file__).resolve().parent.parent
PAGES: Final = sorted([*(ROOT / "docs").glob("*.md"), *ROOT.glob("*.md")])
FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<language>[\w+-]*)[^\n]*\n(?P<code>.*?)^(?P=indent)```$", re.M | re.S)
INDENTED: Final = re.compile(r"(?P<before>.*)\n\n(?P<first>    \S.*)")
# Programs of others, whose arguments are not checked.
OTHER_PROGRAMS: Final = {
    ".",
    *("aws", "cd", "celery", "curl", "git", "gunicorn", "gzip", "hypercorn", "node", "npm", "pre-commit", "rm", "sed"),
    *("sudo", "systemctl", "twine", "unzip", "uvicorn", "xargs"),
}
# Commands of apps that are not installed here.
OTHER_COMMANDS: Final = {"db_worker"}


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line there, its language and its code without the fence's indentation."""

    page: str
    line: int
    language: str
    code: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def first_line(self) -> str:
        return next((line.strip() for line in self.code.splitlines() if line.strip()), "")


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        code = re.sub(f"^{found['indent']}", "", found["code"], flags=re.MULTILINE)
        yield Block(page.name, text.count("\n", 0, found.start()) + 1, found["language"], code)


def unfenced_code(page: Path) -> list[str]:
    """Return the first lines of blocks that are code by their indentation alone. Below a list it is a paragraph."""
    blocks = INDENTED.finditer(FENCE.sub("", page.read_text()))
    return [block["first"] for block in blocks if not re.match(r"- |\d|\s", block["before"])]


# Commands


def problem_of_command(line: str) -> str:
    """Return what is wrong with a line of a shell, or nothing: our own commands must exist and take the arguments."""
    words = [word for word in shlex.split(line, comments=True) if word not in ("|", "&&", "&")]
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    words = [word.removeprefix("django-live-exports/") for word in words]
    match words:
        case [] | ["export", *_]:
            return ""
        case [program, *arguments] if Path(program).name in ("manage.py", "django-admin"):
            return problem_of_management_command(arguments)
        case [program, script, *arguments] if is_python(program) and script.endswith("manage.py"):
            return problem_of_management_command(arguments)
        case [program, "-m", module, *arguments] if is_python(program):
            return problem_of_module(module, arguments)
        case [program, *_] if is_python(program):
            return ""
        case [program, "install", *packages] if Path(program).name == "pip":
            return problem_of_packages(packages)
        case [program, *arguments] if program.startswith(("bin/", "bench/")):
            return problem_of_script(program, arguments)
        case [program, *_] if program.startswith(".venv/bin/"):
            return "" if (ROOT / program).exists() else f"There is no {program}."
        case [program, *_]:
            return "" if program in OTHER_PROGRAMS else f"{program} is no program that the tests know."
    return f"This is no command: {line}"


def is_python(program: str) -> bool:
    return Path(program).name in ("python", "python3", "py")


def problem_of_management_command(arguments: list[str]) -> str:
    name, *rest = arguments
    if name in OTHER_COMMANDS:
        return ""
    found = management_command(name)
    if found is None:
        return f"There is no management command {name!r}."
    try:
        found.create_parser("manage.py", name).parse_args(rest)
    except CommandError as error:
        return str(error)
    return ""


@cache
def management_command(name: str) -> BaseCommand | None:
    # The demo has these apps, the tests have not.
    for app in (get_commands().get(name), "project.demo", "django.contrib.staticfiles"):
        if isinstance(app, BaseCommand):
            return app
        if app and importlib.util.find_spec(f"{app}.management.commands.{name}"):
            return load_command_class(app, name)
    return None


def problem_of_module(module: str, arguments: list[str]) -> str:
    try:
        is_there = importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        is_there = False
    paths = [each.partition("::")[0] for each in arguments if each.startswith("tests/")]
    gone = [each for each in paths if not (ROOT / each).exists()]
    return f"There is no {gone or module}." if gone or not is_there else ""


def problem_of_packages(packages: list[str]) -> str:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = ",".join(re.findall(r"(?:django-live-exports|\.)\[(.+?)\]", " ".join(packages))).split(",")
    unknown = {*filter(None, named)} - set(extras)
    return f"There is no extra {unknown}." if unknown else ""


def problem_of_script(program: str, arguments: list[str]) -> str:
    script = ROOT / program
    if not script.exists():
        return f"There is no {program}."
    source = script.read_text()
    for module in re.findall(r"-m ([\w.]+)", source):
        for path in (module.replace(".", "/") + ".py", module.replace(".", "/") + "/__main__.py"):
            source += (ROOT / path).read_text() if (ROOT / path).exists() else ""
    unknown = [each for each in arguments if each.startswith("-") and each not in source]
    return f"{program} has no {unknown}." if unknown else ""
