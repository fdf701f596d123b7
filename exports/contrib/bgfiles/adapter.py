"""Makes an exporter of a dj-bgfiles handler: any object with `handle(request)`, patterns included."""

from collections.abc import Callable
from typing import Any, Protocol, cast

from exports.contrib.bgfiles.pattern_runner import Pattern, calling_handler, owner_refusal, send_mail, send_mail_now
from exports.contrib.bgfiles.patterns import WriterPattern
from exports.exporters import registry
from exports.exporters.base import ExportRun
from exports.filenames import extension_of
from exports.models import FileRequest, Status
from exports.models.result import ExportResult


class Handler(Protocol):
    """What dj-bgfiles' registry accepts: a class, an instance or a module with `handle`."""

    # dj-bgfiles ignores what a handler returns.
    def handle(self, file_request: FileRequest, /) -> Any: ...


class HandlerExporter:
    """The exporter for a registered handler."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self._pattern_that_wrote: Pattern | None = None

    def refusal(self, export: FileRequest) -> str | None:
        return owner_refusal(export)

    def extension(self, export: FileRequest) -> str:
        return extension_of(export.filename)

    def produce(self, run: ExportRun) -> ExportResult | None:
        """Call the handler. Return None if it attached the file itself."""
        with calling_handler(run) as handler_run:
            self.handler.handle(run.export)
        self._pattern_that_wrote = handler_run.pattern
        return handler_run.result

    def own_mail(self, export: FileRequest) -> Callable[[], object] | None:
        """Return a function that sends the mail of a pattern, or None for any other handler."""
        if self._pattern_class() is None:
            return None
        # A registered instance may have its own `restore`.
        pattern = cast("type[WriterPattern]", self.handler)
        return lambda: send_mail(pattern.restore(export), export)

    def finish(self, export: FileRequest) -> None:
        """Send the mail now if a pattern wrote the file but is not the handler: housekeeping could not find it."""
        pattern = self._pattern_that_wrote
        if export.status == Status.READY and pattern is not None and self._pattern_class() is None:
            send_mail_now(pattern, export)

    def _pattern_class(self) -> type[WriterPattern] | None:
        handler_class: type = self.handler if isinstance(self.handler, type) else type(self.handler)
        return handler_class if issubclass(handler_class, WriterPattern) else None


registry.adapters.append(HandlerExporter)
