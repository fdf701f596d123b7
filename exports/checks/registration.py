"""Register checks that code of the project cannot break: whatever it raises becomes a message."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from django.core import checks
from django.core.checks import CheckMessage
from django.db import connections

from exports.exporters import registry
from exports.failures import describe_error

T = TypeVar("T")
Check = Callable[..., Iterator[CheckMessage]]
ClassCheck = Callable[[type[T]], Iterator[CheckMessage]]
# Any: Django calls each with arguments that no check needs.
Registered = Callable[..., Iterator[CheckMessage]]


def register(*, deploy: bool = False, database: bool = False) -> Callable[[Check], Registered]:
    """Register a check of the settings or the site; with `deploy` only for `check --deploy`.

    With `database` the check gets the aliases of those databases that may be asked: of `check --database`, if any.
    """

    def decorate(check: Check) -> Registered:
        @checks.register("exports", deploy=deploy)
        def run(**kwargs: Any) -> Iterator[CheckMessage]:
            try:
                yield from check(kwargs.get("databases") or ()) if database else check()
            except Exception as error:
                message = f"{check.__name__} could not be carried out: {describe_error(error, with_message=True)}"
                hint = "Correct what the other messages name first, else the setting or the code that raised this."
                yield checks.Error(message, hint=hint, id="exports.E027")

        return run

    return decorate


def check_each(base: type[T], *, deploy: bool = False) -> Callable[[ClassCheck[T]], Registered]:
    """Register a check that is called for each registered class derived from `base`, and may not ask a database.

    If code of the project raises, that is a message about its class, and the other classes are checked.
    """

    def decorate(check: ClassCheck[T]) -> Registered:
        @checks.register("exports", deploy=deploy)
        def run(**kwargs: Any) -> Iterator[CheckMessage]:
            for export in registered_classes(base):
                messages: list[CheckMessage] = []
                try:
                    with no_queries():
                        messages.extend(check(export))
                except Exception as error:
                    message = f"{export.__name__} cannot be used: {describe_error(error, with_message=True)}"
                    hint = "Correct the export: the message says what was raised, and where."
                    messages.append(checks.Error(message, hint=hint, obj=export, id="exports.E018"))
                yield from messages

        return run

    return decorate


def registered_classes(base: type[T]) -> list[type[T]]:
    """Return each registered handler class derived from `base`, once."""
    handlers = dict.fromkeys(registry.handlers.values())
    return [handler for handler in handlers if isinstance(handler, type) and issubclass(handler, base)]


class WouldAskDatabase(Exception):
    """Raised where code of the project asks a database while it is checked."""


@contextmanager
def no_queries() -> Iterator[None]:
    """Raise WouldAskDatabase where this thread asks a database inside, whether or not one can be reached."""

    def refuse(*args: object, **kwargs: object) -> None:
        raise WouldAskDatabase("It asks the database, which may not exist yet.")

    with ExitStack() as stack:
        for connection in connections.all():
            attributes = vars(connection)
            for name in ("cursor", "chunked_cursor"):
                if name in attributes:
                    stack.callback(attributes.__setitem__, name, attributes[name])
                else:
                    stack.callback(attributes.pop, name)
                attributes[name] = refuse
        yield
