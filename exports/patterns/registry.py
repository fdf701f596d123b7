"""Import path of dj-bgfiles' registry."""

from exports.exporters.registry import handlers, register
from exports.worker.loop import dispatch

__all__ = ["dispatch", "handlers", "register"]
