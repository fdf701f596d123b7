"""Serve static files by whitenoise under ASGI."""

from collections.abc import Awaitable, Callable

from asgiref.sync import markcoroutinefunction, sync_to_async
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.text import compress_string
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile


class StaticFiles(WhiteNoiseMiddleware):
    """whitenoise's middleware as a coroutine.

    The original is synchronous: each request behind it would occupy a thread while it waits. It also responds with a
    synchronous iterator, which Django warns about under ASGI; these files are small, so they are sent whole. Texts that
    `collectstatic` has not compressed, as in development, are compressed here.
    """

    sync_capable = False
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        super().__init__(get_response)
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        find = self.find_file if self.autorefresh else self.files.get
        static_file = find(request.path_info)
        if static_file is None:
            return await self.get_response(request)
        return await sync_to_async(self.serve, thread_sensitive=False)(static_file, request)

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        found = static_file.get_response(request.method, request.META)
        content = b""
        if found.file is not None:
            with found.file as file:
                content = file.read()
        response = HttpResponse(content, status=int(found.status))
        del response["Content-Type"]
        for name, value in found.headers:
            response[name] = value
        accepts_gzip = "gzip" in request.META.get("HTTP_ACCEPT_ENCODING", "")
        is_text = response["Content-Type"].startswith(("text/", "image/svg"))
        if content and response.status_code == 200 and is_text and "Content-Encoding" not in response:
            patch_vary_headers(response, ["Accept-Encoding"])
            if accepts_gzip:
                response.content = compress_string(content)
                response["Content-Encoding"] = "gzip"
                response["Content-Length"] = str(len(response.content))
        return response
