"""Handlers of dj-bgfiles' kind as the runner wants an exporter: anything with `handle(request)`, patterns too."""

from collections.abc import Callable
from typing import Any

from exports.contrib.bgfiles.making import mail, mail_now, refusal_of_owner
from exports.contrib.bgfiles.patterns import WriterPattern
from exports.exporters import registry
from exports.filenames import extension_of
from exports.models import FileRequest, Status
from exports.models.result import ExportResult
from exports.worker.runner import Run


class Handled:
    """A registered handler that only has `handle(request)`, as the runner wants an exporter."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.wrote: WriterPattern | None = None

    def refusal(self, request: FileRequest) -> str | None:
        return refusal_of_owner(request)

    def extension(self, request: FileRequest) -> str:
        return extension_of(request.filename)

    def produce(self, run: Run) -> ExportResult | None:
        """None where the handler attached its file itself."""
        self.handler.handle(run.request)
        self.wrote = run.pattern if isinstance(run.pattern, WriterPattern) else None
        return run.result

    def own_mail(self, request: FileRequest) -> Callable[[], object] | None:
        """What sends the mail that this handler's author wrote; None for one that is no pattern."""
        return (lambda: mail(self.handler.restore(request), request)) if self._is_pattern else None

    def finish(self, request: FileRequest) -> None:
        """A handler that had a pattern write its file: the mailer does not know which one, so its mail goes now."""
        if request.status == Status.READY and self.wrote is not None and not self._is_pattern:
            mail_now(self.wrote, request)

    @property
    def _is_pattern(self) -> bool:
        return issubclass(self.handler if isinstance(self.handler, type) else type(self.handler), WriterPattern)


registry.adapters.append(Handled)
