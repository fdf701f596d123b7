"""`python -m exports.client SITE [TYPE NAME=VALUE ...]`: request an export, follow it, and save its file.

The token is read from the environment variable EXPORTS_TOKEN or from a file, since other users of the computer can see
the arguments of a process. Exit codes are those of `exports.exit_codes.Exit`.
"""

import json
import os
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from exports.client import Client, ClientError, Progress, RequestRefused
from exports.client.progress import DOWNLOADING
from exports.exit_codes import Exit

TOKEN_VARIABLE: Final = "EXPORTS_TOKEN"
LINE_SECONDS: Final = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    given = parser().parse_intermixed_args(arguments)
    report = reporter(given)
    try:
        if bool(given.type) != bool(given.output):
            raise RequestRefused("A type needs --output, and --output needs a type.", code="usage")
        with Client(given.site, token_of(given), patience_seconds=given.patience) as exports, report:
            if not given.type:
                report.types(exports.types())
                return Exit.DONE
            path = exports.download(
                given.type,
                given.output,
                pairs(given.criteria),
                format=given.format,
                columns=given.column or None,
                options=pairs(given.option),
                on_progress=report,
            )
        report.saved(path)
        return Exit.DONE
    except KeyboardInterrupt:
        report.failed("interrupted", "Stopped.", Exit.INTERRUPTED)
        return Exit.INTERRUPTED
    except ClientError as error:
        report.failed(error.code, str(error), error.exit_code)
        return error.exit_code
    except OSError as error:
        report.failed("os_error", str(error), Exit.FAILED)
        return Exit.FAILED


def parser() -> ArgumentParser:
    """Return the parser of the command line."""
    made = ArgumentParser(prog="python -m exports.client", description="Request an export of a site and save its file.")
    made.add_argument("site", help="The address of the site: https://example.com")
    made.add_argument("type", nargs="?", default="", help="The type of the export. Without one the types are listed.")
    made.add_argument("criteria", nargs="*", metavar="NAME=VALUE", help="A field of its form; repeat it for a list.")
    made.add_argument("--output", metavar="PATH", help="Where the file is saved.")
    made.add_argument("--format", default="", help="The format, by default the first of the export.")
    made.add_argument("--column", action="append", default=[], metavar="NAME", help="A column, in this order.")
    made.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="An option of the format.")
    made.add_argument("--token-file", type=Path, help=f"A file with the token, in place of {TOKEN_VARIABLE}.")
    made.add_argument("--patience", type=float, default=300.0, metavar="SECONDS", help="How long to wait for the site.")
    made.add_argument("--json", action="store_true", dest="is_json", help="Print each event as a line of JSON.")
    made.add_argument("--quiet", action="store_true", help="Show no progress.")
    return made


def token_of(given: Namespace) -> str:
    """Return the token. Raise RequestRefused if there is none."""
    token = given.token_file.read_text("utf-8") if given.token_file else os.environ.get(TOKEN_VARIABLE, "")
    if not token.strip():
        raise RequestRefused(
            f"There is no token: set {TOKEN_VARIABLE}, or name a file with --token-file.", code="usage"
        )
    return str(token.strip())


def pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Return NAME=VALUE arguments as a dict; a name that is repeated has a list. Raise RequestRefused.

    Any: texts and lists of texts, as values of JSON.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise RequestRefused(f"{text!r} is not NAME=VALUE.", code="usage")
        found.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


class Reporter(Protocol):
    """What the user sees. Any: values of JSON."""

    def __enter__(self) -> object: ...

    def __exit__(self, *error: object) -> None: ...

    def __call__(self, progress: Progress) -> None: ...

    def types(self, types: Sequence[dict[str, Any]]) -> None: ...

    def saved(self, path: Path) -> None: ...

    def failed(self, code: str, message: str, exit_code: Exit) -> None: ...


def reporter(given: Namespace) -> Reporter:
    """Return what the user has asked for: JSON, a bar where stderr is a terminal, or lines."""
    if given.is_json:
        return JsonReporter()
    console = Console(stderr=True)
    return BarReporter(console) if console.is_terminal and not given.quiet else LineReporter(is_quiet=given.quiet)


class JsonReporter:
    """Prints an object per line on stdout: the events `export`, `download`, `types`, `saved` and `error`."""

    def __init__(self) -> None:
        self._told_at = 0.0

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def __call__(self, progress: Progress) -> None:
        if progress.status != DOWNLOADING:
            self._print(event="export", export=progress.state)
        elif progress.done == progress.total or time.monotonic() - self._told_at > 1:
            self._told_at = time.monotonic()
            self._print(event="download", bytes_done=progress.done, bytes_total=progress.total)

    # Any: values of JSON.
    def types(self, types: Sequence[dict[str, Any]]) -> None:
        self._print(event="types", types=types)

    def saved(self, path: Path) -> None:
        self._print(event="saved", path=str(path), size=path.stat().st_size)

    def failed(self, code: str, message: str, exit_code: Exit) -> None:
        self._print(event="error", code=code, message=message, exit_code=exit_code)

    def _print(self, **event: object) -> None:
        print(json.dumps(event), flush=True)


class LineReporter:
    """Prints progress as lines on stderr, and results on stdout."""

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet = is_quiet
        self._phase, self._told_at = "", 0.0

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...

    def __call__(self, progress: Progress) -> None:
        phase = f"{progress.status} {progress.phase}"
        if not self._is_quiet and (phase != self._phase or time.monotonic() - self._told_at > LINE_SECONDS):
            self._phase, self._told_at = phase, time.monotonic()
            print(progress, file=sys.stderr, flush=True)

    # Any: values of JSON.
    def types(self, types: Sequence[dict[str, Any]]) -> None:
        for each in types:
            print(f"{each['type']}: {each['title']}")

    def saved(self, path: Path) -> None:
        print(path)

    def failed(self, code: str, message: str, exit_code: Exit) -> None:
        print(f"{message} ({code})", file=sys.stderr)


class BarReporter(LineReporter):
    """Shows progress as a bar on the terminal."""

    def __init__(self, console: Console) -> None:
        super().__init__(is_quiet=True)
        self._bar = RichProgress(BarColumn(), TextColumn("{task.description}"), console=console, transient=True)
        self._task: TaskID = self._bar.add_task("", total=None)

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        # While the number of rows is not known the bar is empty, and the line beside it counts them.
        self._bar.update(self._task, description=str(progress), total=1.0, completed=progress.fraction or 0.0)


if __name__ == "__main__":
    sys.exit(main())
