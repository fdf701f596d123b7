"""A channel layer that records what is sent to the live pages."""

from typing import Any, ClassVar

from channels.layers import InMemoryChannelLayer

from exports.realtime import events
from tests.servers import wait_until


class HeardLayer(InMemoryChannelLayer):
    """A channel layer whose messages a test can read in the order they were sent."""

    sent: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self.sent.append((group, events.unseal(message, [group])))


class Pages:
    """The live pages of one test."""

    LAYER: ClassVar[dict[str, Any]] = {"default": {"BACKEND": "tests.seed.pages.HeardLayer"}}

    def __init__(self) -> None:
        HeardLayer.sent.clear()

    def heard(self, request_id: Any) -> list[dict[str, Any]]:
        """Return the states of this request that its page got."""
        wait_until(lambda: not events._sending)
        group = events.group_of_request(request_id)
        return [message["export"] for name, message in list(HeardLayer.sent) if name == group]


class BrokenMail:
    """A mail server that does not answer."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def send_messages(self, messages: list[Any]) -> int:
        raise ConnectionRefusedError
