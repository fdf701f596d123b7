"""The site as a client sees it: requests that are repeated until it answers, and its refusals as exceptions."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import httpx

from exports.client.errors import ClientError, Denied, RequestRefused, Unavailable
from exports.client.sockets import Sockets

API: Final = "/exports/api/v1/"
MAX_WAIT_SECONDS: Final = 15.0
# What a proxy answers while the site behind it restarts, and the site itself when it has too much to do.
PASSING_STATUSES: Final = (429, 502, 503, 504)
FIRST_ANSWER_SECONDS: Final = 30.0
# Limits of the user that no short wait ends.
QUOTAS: Final = ("too_many_queued", "too_many_today")


class Site:
    """An HTTP client of one site, with a token.

    Args:
        url: The address of the site, with its path if it has one: "https://example.com".
        token: The text of an API token, sent as a bearer token to this site only.
        patience_seconds: For how long the site may be out of reach before a request fails.
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
        self.url = httpx.URL(url.rstrip("/"))
        if self.url.scheme not in ("http", "https") or not self.url.host:
            raise RequestRefused(f"{url!r} is not the address of a site, such as 'https://example.com'.", code="url")
        authorization = {"Authorization": f"Bearer {token}"}
        self.sockets = Sockets(self.url, authorization, ssl_context)
        self._patience_seconds = patience_seconds
        self._has_answered = False
        self._http = httpx.AsyncClient(
            base_url=self.url.copy_with(path="/"),
            # httpx does not send it along when it is redirected to another host, such as that of a bucket.
            headers={**authorization, "Accept": "application/json", "Accept-Encoding": "identity"},
            follow_redirects=True,
            timeout=timeout_seconds,
            verify=True if ssl_context is None else ssl_context,
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.__aexit__(kind, error, traceback)

    def api(self, path: str) -> str:
        """Return the path of a resource of the API."""
        return f"{self.url.path.rstrip('/')}{API}{path}"

    def patience(self) -> "Patience":
        """Return what waits for this site: not for long until it has answered once, since its address may be wrong."""
        seconds = self._patience_seconds
        return Patience(seconds if self._has_answered else min(seconds, FIRST_ANSWER_SECONDS))

    # Any: the arguments of httpx.
    async def request(self, method: str, path: str, *, allowed: tuple[int, ...] = (), **given: Any) -> httpx.Response:
        """Send a request that may safely be repeated, until the site answers, and return its answer.

        Raises RequestRefused, Denied or Unavailable for an error, unless its status is in `allowed`.
        """
        patience = self.patience()
        while True:
            try:
                response = await self._http.request(method, own_path(path), **given)
                self._has_answered = True
                if response.is_success or response.status_code in allowed:
                    return response
                if response.status_code not in PASSING_STATUSES or is_final(response):
                    raise error_of(response)
                await patience.wait(error_of(response), retry_after=retry_after(response))
            except httpx.RequestError as error:
                await patience.wait(Unavailable(f"{self.url.host} does not answer: {error}", code="unreachable"))

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """Open the answer to one GET. Its errors are those of httpx."""
        async with self._http.stream("GET", own_path(path), headers=dict(headers)) as response:
            yield response

    async def post_once(self, path: str, *, seconds: float) -> None:
        """Send a POST whose answer does not matter, such as before the end of the process."""
        await self._http.post(own_path(path), timeout=seconds)


class Patience:
    """Waits between attempts, longer each time and at random, so that many clients do not come back together."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._attempt, self._since = 0, time.monotonic()

    def renew(self) -> None:
        """Begin again, because the last attempt got somewhere."""
        self._attempt, self._since = 0, time.monotonic()

    async def wait(self, error: ClientError, *, retry_after: float = 0.0) -> None:
        """Wait before the next attempt, `retry_after` seconds at least. Raise `error` if that takes too long."""
        pause = max(retry_after, backoff(self._attempt))
        if time.monotonic() + pause - self._since > self._seconds:
            raise error
        self._attempt += 1
        await asyncio.sleep(pause)


def backoff(attempt: int) -> float:
    """Return how many seconds to wait after attempt number `attempt`, from 0 on."""
    return random.uniform(0, min(MAX_WAIT_SECONDS, 2.0 ** min(attempt, 10)))


def own_path(path: str) -> str:
    """Return a path of the site. Raise Unavailable for an address of another host, which must not get the token."""
    if not path.startswith("/") or path.startswith("//"):
        raise Unavailable(f"The site named {path!r}, which is none of its own paths.", code="unexpected_answer")
    return path


def is_final(response: httpx.Response) -> bool:
    """Return True for a limit of the user, or a site without a queue: waiting a little changes nothing."""
    code = str(problem_of(response).get("code", ""))
    return code == "no_queue" or (response.status_code == 429 and code in QUOTAS)


def retry_after(response: httpx.Response) -> float:
    """Return the seconds of Retry-After, 0 without it."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def error_of(response: httpx.Response) -> ClientError:
    """Return the exception for an answer that is an error."""
    problem = problem_of(response)
    code = problem.get("code", f"http_{response.status_code}")
    message = problem.get("message") or f"{response.url.path} was answered with {response.status_code}."
    if response.status_code in (401, 403, 404):
        return Denied(message, code=code)
    if response.status_code == 429 or response.is_server_error:
        return Unavailable(message, code=code)
    return RequestRefused(message, code=code, fields=problem.get("fields"))


# Any: values of JSON.
def problem_of(response: httpx.Response) -> dict[str, Any]:
    """Return `code`, `message` and `fields` of an error, from problem+json or from the errors of docs/protocol.md."""
    try:
        body = response.json()
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    if isinstance(error := body.get("error"), dict) and "status" not in body:
        return error
    return {"message": body.get("detail") or body.get("title", ""), **body}


# Any: values of JSON.
def state_in(response: httpx.Response) -> dict[str, Any]:
    """Return the STATE of an answer. Raise Unavailable if it is something else, such as the page of a proxy."""
    try:
        state = response.json()
    except ValueError:
        state = None
    if not isinstance(state, dict) or not {"id", "seq", "status", "progress", "urls"} <= state.keys():
        message = f"{response.url.path} was not answered with an export. Is this the address of the site?"
        raise Unavailable(message, code="unexpected_answer")
    return state
