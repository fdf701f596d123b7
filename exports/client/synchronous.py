"""Client and Export: the client for programs without asyncio."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from exports.client.asynchronous import AsyncClient, AsyncExport
from exports.client.progress import OnProgress, ignore


class Client:
    """A client of one site. Use it as a context manager, outside of an event loop.

        with Client("https://example.com", token=token) as exports:
            exports.run("flights", carrier="UA", format="xlsx", on_progress=print).save("flights.xlsx")

    Ctrl-C during `run`, `wait` and `download` cancels the export.

    Args:
        url: The address of the site.
        token: The text of an API token, sent to this site only.
        patience_seconds: For how long the site may be out of reach, as during a restart, before a method fails.
        timeout_seconds: For how long a request waits for an answer before it is repeated.
        ssl_context: What certificates are trusted, by default those of the system.

    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_seconds: float = 300.0,
        timeout_seconds: float = 30.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._client = AsyncClient(
            url, token, patience_seconds=patience_seconds, timeout_seconds=timeout_seconds, ssl_context=ssl_context
        )
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self._runner.run(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._runner.run(self._client.__aexit__(kind, error, traceback))
        finally:
            self._runner.close()

    # Any: values of JSON, here and below.
    def types(self) -> list[dict[str, Any]]:
        """Return the exports that the user of the token may request, as the API describes them."""
        return self._runner.run(self._client.types())

    def get(self, export_id: str) -> "Export":
        """Return the export with this id. Raises Denied."""
        return self._wrap(self._runner.run(self._client.get(export_id)))

    def request(
        self,
        file_type: str,
        criteria: Mapping[str, Any] | None = None,
        *,
        format: str = "",
        columns: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        **more_criteria: Any,
    ) -> "Export":
        """Request an export and return it at once. The arguments are those of `run`."""
        requesting = self._client.request(
            file_type,
            {**(criteria or {}), **more_criteria},
            format=format,
            columns=columns,
            options=options,
            idempotency_key=idempotency_key,
        )
        return self._wrap(self._runner.run(requesting))

    def run(
        self,
        file_type: str,
        criteria: Mapping[str, Any] | None = None,
        *,
        format: str = "",
        columns: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        on_progress: OnProgress = ignore,
        **more_criteria: Any,
    ) -> "Export":
        """Request an export and return it when its file is ready.

        Args:
            file_type: The name under which the export is registered.
            criteria: The fields of its form; they may also be given as keywords.
            format: The format, by default the first one of the export.
            columns: The names of the columns, by default the usual ones.
            options: The options of the format.
            idempotency_key: A text that this program has kept: the same one gets the same export again for 24 hours.
            on_progress: Called with a `Progress` after every change.
            more_criteria: Further fields of the form.

        Raises RequestRefused, Denied, Unavailable or ExportFailed.

        """
        running = self._client.run(
            file_type,
            {**(criteria or {}), **more_criteria},
            format=format,
            columns=columns,
            options=options,
            idempotency_key=idempotency_key,
            on_progress=on_progress,
        )
        return self._wrap(self._runner.run(running))

    def download(
        self,
        file_type: str,
        path: str | Path,
        criteria: Mapping[str, Any] | None = None,
        *,
        format: str = "",
        columns: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        on_progress: OnProgress = ignore,
        **more_criteria: Any,
    ) -> Path:
        """Request an export and save its file as `path`; the other arguments are those of `run`.

        A program that is killed and calls this again gets the same export, and goes on with the download: what it needs
        for that is in two files beside `path`, "*.part" and "*.part.json". They are deleted in the end, also after a
        failure, unless another attempt may succeed. Raises like `run`, and DamagedFile and OSError.
        """
        saving = self._client.download(
            file_type,
            path,
            {**(criteria or {}), **more_criteria},
            format=format,
            columns=columns,
            options=options,
            on_progress=on_progress,
        )
        return self._runner.run(saving)

    def _wrap(self, export: AsyncExport) -> "Export":
        return Export(self._runner, export)


class Export:
    """An export that was requested. `state` is its newest known STATE (docs/protocol.md)."""

    def __init__(self, runner: asyncio.Runner, export: AsyncExport) -> None:
        self._runner, self._export = runner, export

    @property
    def state(self) -> dict[str, Any]:
        return self._export.state

    @property
    def id(self) -> str:
        return self._export.id

    @property
    def status(self) -> str:
        return self._export.status

    def wait(self, on_progress: OnProgress = ignore) -> Self:
        """Return this export when its file is ready. Raises ExportFailed, Denied or Unavailable."""
        self._runner.run(self._export.wait(on_progress))
        return self

    def cancel(self) -> None:
        """Cancel the export; no error is raised if it has ended."""
        self._runner.run(self._export.cancel())

    def save(self, path: str | Path = "", *, on_progress: OnProgress = ignore) -> Path:
        """Wait for the file, download it, and return its path: `path`, or the file's own name in this folder.

        A download that was cut is resumed, also the next time that this is called for the same file. Raises
        DamagedFile, ExportFailed, Denied, Unavailable and OSError.
        """
        return self._runner.run(self._export.save(path, on_progress=on_progress))
