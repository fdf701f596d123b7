"""Pages of a long history, which read a bounded part of it."""

from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator
from django.utils.functional import cached_property

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
