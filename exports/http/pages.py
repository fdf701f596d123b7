"""Pages of a long history, which read a bounded part of it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import MAXYEAR, MINYEAR, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.core.paginator import Paginator
from django.db.models import Q
from django.utils.functional import cached_property

from exports.models import FileRequest

if TYPE_CHECKING:
    Pages = Paginator[Any]
else:
    # Django's class cannot be subscripted at runtime without django-stubs-ext.
    Pages = Paginator

MAX_LISTED = 10_000
"""The rows of a list that are counted and have pages. Filters and the search find the others."""


class AtLeast(int):
    """A number of rows that were not counted to the end."""

    def __str__(self) -> str:
        return f"{int(self)}+"


class NewestPages(Pages):
    """Pages of the first MAX_LISTED rows."""

    @cached_property
    def count(self) -> int:
        """Count the rows; an AtLeast if there are more than MAX_LISTED."""
        # Any: a QuerySet; Django allows lists as well.
        rows: Any = self.object_list
        found = rows.order_by()[: MAX_LISTED + 1].count()
        return found if found <= MAX_LISTED else AtLeast(MAX_LISTED)


class Place(NamedTuple):
    """Where an export is among others in the order of their requests. Its text in an address is a cursor."""

    requested_at: datetime
    pk: UUID

    @classmethod
    def of(cls, export: FileRequest) -> "Place":
        return cls(export.requested_at, export.pk)

    @classmethod
    def read(cls, cursor: str) -> "Place | None":
        """Return the place of a cursor, or None if `str` has made no such text."""
        try:
            moment, _blank, pk = urlsafe_b64decode(cursor.encode()).decode().partition(" ")
            place = cls(datetime.fromisoformat(moment), UUID(pk))
        except ValueError:
            return None
        has_zone = place.requested_at.tzinfo is not None
        # In another time zone, the first and the last day of the calendar may be outside of it.
        is_ours = has_zone == settings.USE_TZ and MINYEAR < place.requested_at.year < MAXYEAR
        return place if is_ours else None

    def __str__(self) -> str:
        return urlsafe_b64encode(f"{self.requested_at.isoformat()} {self.pk.hex}".encode()).decode()

    # An index finds the first condition, and the second decides between those of one moment.

    def earlier(self) -> Q:
        """Select the exports before this place."""
        before = Q(requested_at__lt=self.requested_at) | Q(pk__lt=self.pk)
        return Q(requested_at__lte=self.requested_at) & before

    def later(self) -> Q:
        """Select the exports behind this place."""
        behind = Q(requested_at__gt=self.requested_at) | Q(pk__gt=self.pk)
        return Q(requested_at__gte=self.requested_at) & behind
