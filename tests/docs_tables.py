"""What is made from the code: commands, template tags and error codes in the reference pages, docs/openapi.json and
docs/asyncapi.yaml.

`python -m tests.docs_tables` writes them into docs/ between their markers; tests/test_docs_reference.py compares them.
"""

import inspect
import json
import os
from argparse import SUPPRESS, Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import django

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
BEGIN: Final = "<!-- Written by `python -m tests.docs_tables` -->\n"
END: Final = "<!-- End of what was written -->\n"


def commands() -> Iterator[str]:
    from exports.management.commands.exports import Command

    parser = Command().create_parser("manage.py", "exports")
    [verbs] = [action for action in parser._actions if isinstance(action, _SubParsersAction)]
    helps = {choice.dest: choice.help or "" for choice in verbs._choices_actions}
    for name, verb in verbs.choices.items():
        arguments = [each for each in verb._actions if each.help != SUPPRESS and each.dest != "help"]
        yield f"## exports {name}\n"
        yield f"`manage.py exports {name}`: {helps[name]}\n"
        if arguments:
            yield "| Argument | Meaning |"
            yield "|---|---|"
            yield from (f"| {argument_name(each)} | {argument_help(verb, each)} |" for each in arguments)
            yield ""


def argument_name(action: Action) -> str:
    name = ", ".join(action.option_strings)
    value = "" if action.nargs == 0 else action.metavar or action.dest.upper()
    return f"`{f'{name} {value}'.strip()}`"


def argument_help(parser: ArgumentParser, action: Action) -> str:
    return parser._get_formatter()._expand_help(action).replace("|", "\\|")


def template_tags() -> Iterator[str]:
    from exports.templatetags import exports as library

    for name, compiled in sorted(library.register.tags.items()):
        function = inspect.unwrap(compiled)
        arguments = []
        for each in inspect.signature(function).parameters.values():
            if each.name != "context" and each.kind is not each.VAR_KEYWORD:
                default = "" if each.default is each.empty else f"={each.default!r}"
                arguments.append(f"{each.name}{'...' if each.kind is each.VAR_POSITIONAL else default}")
        yield f"## {name}\n"
        yield f"`{{% {' '.join([name, *arguments])} %}}`\n"
        yield f"{inspect.getdoc(function)}\n"


def error_codes() -> Iterator[str]:
    from exports.state import ERROR_MESSAGES, UNKNOWN_ERROR_MESSAGE

    classes = {each.__dict__["code"]: each for each in subclasses_of_export_error() if "code" in each.__dict__}
    yield "| `code` | What users read | Exception |"
    yield "|---|---|---|"
    for code, message in {**ERROR_MESSAGES, "export_failed": UNKNOWN_ERROR_MESSAGE}.items():
        raised = f"`{classes[code].__name__}`" if code in classes else "-"
        yield f"| `{code}` | {message} | {raised} |"


def subclasses_of_export_error() -> Iterator[type]:
    from exports.exceptions import ExportError

    found = [ExportError]
    while found:
        yield found[-1]
        found.extend(found.pop().__subclasses__())


def openapi() -> str:
    """Return docs/openapi.json: the OpenAPI document of the API where the demo mounts it."""
    from exports.contrib.api.documented import document_of
    from exports.contrib.api.urls import api

    return json.dumps(document_of(api, "/exports/api/v1/"), indent=2) + "\n"


def asyncapi() -> str:
    """Return docs/asyncapi.yaml: the AsyncAPI document of the sockets."""
    # Its module needs the models.
    from tests.asyncapi import text

    return text()


TABLES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "commands.md": commands,
    "error-codes.md": error_codes,
    "template-tags.md": template_tags,
}


def made(page: str) -> str:
    """Return the part of a page as the code gives it."""
    # Markdown needs empty lines beside the markers.
    return "\n" + "\n".join(TABLES[page]()).rstrip("\n") + "\n\n"


def documented(page: str) -> str:
    """Return the part of a page as it is."""
    text = (DOCS / page).read_text()
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    for page in TABLES:
        path = DOCS / page
        path.write_text(path.read_text().replace(BEGIN + documented(page), BEGIN + made(page)))
    (DOCS / "openapi.json").write_text(openapi())
    (DOCS / "asyncapi.yaml").write_text(asyncapi())
