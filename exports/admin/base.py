"""What the admin pages of this app share."""

from typing import TYPE_CHECKING

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Model]
else:
    # Django's class cannot be subscripted at runtime without django-stubs-ext.
    ModelAdmin = admin.ModelAdmin


class ReadOnlyAdmin(ModelAdmin):
    """A model that the admin shows and does not change, and that can be filtered by what its own pages offer only."""

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Return True for the lookups of `list_filter` and `date_hierarchy`.

        Django allows every lookup of a column, so `?criteria__startswith=` would tell what the pages do not show, and
        a regular expression may keep the database busy for minutes.
        """
        allowed = {f"{self.date_hierarchy}__{unit}" for unit in ("year", "month", "day")}
        for name in self.list_filter:
            allowed |= {f"{name}{suffix}" for suffix in ("", "__exact", "__isnull")}
        return lookup in allowed

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Return False on the pages of this app only.

        The admin of users asks, too, before it deletes a user and everything that belongs to them.
        """
        url_name = request.resolver_match.url_name if request.resolver_match is not None else None
        is_own_page = (url_name or "").startswith("exports_")
        return not is_own_page and super().has_delete_permission(request, obj)
