"""AsyncClient and AsyncExport: the client for asyncio. `exports.client.Client` runs it."""

import asyncio
import json
import ssl
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from exports.client import downloads
from exports.client.downloads import Note
from exports.client.errors import ClientError, Denied, ExportFailed, RequestRefused
from exports.client.following import ACTIVE, Follower
from exports.client.progress import OnProgress, ignore
from exports.client.site import Site, state_in

CANCEL_SECONDS: Final = 5.0


class AsyncClient:
    """A client of one site. Use it as an async context manager.

    The arguments are those of `exports.client.Client`.
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
        self._site = Site(
            url, token, patience_seconds=patience_seconds, timeout_seconds=timeout_seconds, ssl_context=ssl_context
        )

    async def __aenter__(self) -> Self:
        await self._site.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._site.__aexit__(kind, error, traceback)

    # Any: values of JSON, here and below.
    async def types(self) -> list[dict[str, Any]]:
        """Return the exports that the user of the token may request, as the API describes them."""
        response = await self._site.request("GET", self._site.api("types/"))
        found: list[dict[str, Any]] = response.json()["types"]
        return found

    async def get(self, export_id: str) -> "AsyncExport":
        """Return the export with this id. Raises Denied."""
        response = await self._site.request("GET", self._site.api(f"exports/{export_id}/"), allowed=(410,))
        return AsyncExport(self._site, state_in(response))

    async def request(
        self,
        file_type: str,
        criteria: Mapping[str, Any] | None = None,
        *,
        format: str = "",
        columns: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        idempotency_key: str = "",
        **more_criteria: Any,
    ) -> "AsyncExport":
        """Request an export and return it at once. The arguments are those of `Client.run`."""
        body = request_body(file_type, {**(criteria or {}), **more_criteria}, format, columns, options)
        return await self._request(body, idempotency_key or new_key())

    async def run(
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
    ) -> "AsyncExport":
        """Request an export and return it when its file is ready. The arguments are those of `Client.run`."""
        body = request_body(file_type, {**(criteria or {}), **more_criteria}, format, columns, options)
        export = await self._request(body, idempotency_key or new_key())
        return await export.wait(on_progress)

    async def download(
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
        """Request an export and save its file as `path`. The arguments are those of `Client.download`."""
        body = request_body(file_type, {**(criteria or {}), **more_criteria}, format, columns, options)
        path, request = Path(path), json.dumps([str(self._site.url), body], sort_keys=True)
        earlier = Note.read(path, request)
        if earlier is None:
            downloads.forget(path)
        note = earlier or Note(request, new_key())
        note.write(path)
        try:
            export = await self._request(body, note.key)
            if earlier is not None and export.status not in (*ACTIVE, "ready"):
                # What an earlier run of this program requested has ended without a file since.
                note = Note(request, new_key())
                note.write(path)
                export = await self._request(body, note.key)
            await export.wait(on_progress)
        except (ExportFailed, RequestRefused, Denied, asyncio.CancelledError):
            downloads.forget(path)
            raise
        try:
            await downloads.save(self._site, export.state, path, note, on_progress)
        except (RequestRefused, Denied):
            downloads.forget(path)
            raise
        return path

    async def _request(self, body: Mapping[str, Any], key: str) -> "AsyncExport":
        headers = {"Idempotency-Key": key, "Prefer": "respond-async"}
        asking = asyncio.ensure_future(
            self._site.request("POST", self._site.api("exports/"), json=body, headers=headers, allowed=(410,))
        )
        try:
            return AsyncExport(self._site, state_in(await asyncio.shield(asking)))
        except asyncio.CancelledError:
            # The site may have the request already, and only its answer tells what to cancel.
            with suppress(TimeoutError, ClientError):
                response = await asyncio.wait_for(asking, CANCEL_SECONDS)
                await AsyncExport(self._site, state_in(response)).cancel()
            raise


class AsyncExport:
    """An export that was requested. `state` is its newest known STATE (docs/protocol.md)."""

    def __init__(self, site: Site, state: dict[str, Any]) -> None:
        self.state = state
        self._site = site

    @property
    def id(self) -> str:
        return str(self.state["id"])

    @property
    def status(self) -> str:
        return str(self.state["status"])

    @property
    def _has_file(self) -> bool:
        """Return False also for a file that its owner may not have any more."""
        return self.status == "ready" and self.state["file"] is not None

    async def wait(self, on_progress: OnProgress = ignore) -> Self:
        """Return this export when its file is ready. If the task is cancelled meanwhile, so is the export.

        Raises ExportFailed, Denied or Unavailable.
        """
        follower = Follower(self._site, self.state, on_progress)
        try:
            self.state = await follower.follow()
        except asyncio.CancelledError:
            self.state = follower.state
            await self.cancel()
            raise
        if not self._has_file:
            raise ExportFailed(self.state)
        return self

    async def cancel(self) -> None:
        """Cancel the export, if the site answers within CANCEL_SECONDS; no error is raised if it has ended."""
        if self.state["urls"]["cancel"]:
            with suppress(httpx.RequestError):
                await self._site.post_once(self.state["urls"]["cancel"], seconds=CANCEL_SECONDS)

    async def save(self, path: str | Path = "", *, on_progress: OnProgress = ignore) -> Path:
        """Wait for the file, download it, and return its path: `path`, or the file's own name in this folder.

        A download that was cut is resumed, also the next time that this is called for the same file. Raises
        DamagedFile, ExportFailed, Denied, Unavailable and OSError.
        """
        if not self._has_file:
            await self.wait(on_progress)
        target = Path(path or Path(self.state["file"]["name"]).name)
        note = Note.read(target, self.id) or Note(self.id, "")
        await downloads.save(self._site, self.state, target, note, on_progress)
        return target


def new_key() -> str:
    """Return an idempotency key that no other request has."""
    return str(uuid.uuid4())


def request_body(
    file_type: str,
    criteria: Mapping[str, Any],
    format: str,
    columns: Sequence[str] | None,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the body of the request for an export, without what has its default."""
    given = {"criteria": dict(criteria), "format": format, "columns": columns, "options": options}
    return {"type": file_type, **{name: value for name, value in given.items() if value}}
