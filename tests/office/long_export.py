"""An export that lasts until the test lets it go."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from django.contrib.auth.models import User

from exports import services
from exports.models import FileRequest
from tests.office import rows
from tests.servers import wait_until

Request = Callable[[dict[str, str]], FileRequest]


def ask(owner: User, criteria: dict[str, str]) -> FileRequest:
    return services.request_export(owner, "long", criteria)[0]


class Long:
    """An export of the long report, which ends when the test lets it go. `request` asks for it, by default here."""

    def __init__(
        self, owner: User, folder: Path, *, name: str = "long", is_let_go: bool = False, request: Request | None = None
    ) -> None:
        self.until, self.log = folder / f"{name}.until", folder / f"{name}.log"
        if is_let_go:
            self.let_go()
        criteria = {"until": str(self.until), "log": str(self.log)}
        self.request = (request or partial(ask, owner))(criteria)

    def let_go(self) -> None:
        self.until.touch()

    def lines(self) -> list[str]:
        """The begin and the end of each attempt, with its epoch."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def row(self) -> FileRequest:
        return rows.fresh(self.request)

    def wait_for(self, status: str) -> FileRequest:
        wait_until(lambda: self.row.status == status, describe=lambda: f"{self.row.status}, not {status}")
        return self.row

    def wait_until_it_writes(self) -> FileRequest:
        wait_until(lambda: self.row.rows_done > 0)
        return self.row
