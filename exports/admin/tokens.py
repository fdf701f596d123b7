"""The API tokens in the admin: who has which, when each was last used, and an action that revokes them."""

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from exports.access import tokens
from exports.admin.base import ReadOnlyAdmin
from exports.http.actors import actor_of
from exports.models import AccessToken


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """The tokens without their secrets. Staff with the permission to change them can revoke them, and nothing else."""

    list_display = (
        "name", "prefix", "owner", "can_create", "exporters", "created_at", "last_used_at", "expires_at", "revoked_at",
    )  # fmt: skip
    list_filter = ("can_create",)
    search_fields = ("name", "prefix", f"owner__{get_user_model().USERNAME_FIELD}")
    date_hierarchy = "created_at"
    list_select_related = ("owner",)
    fields = readonly_fields = list_display
    actions = ("revoke_tokens",)

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Return True for staff who may run the action; Django finds this by the name in `permissions`."""
        return request.user.has_perm("exports.change_accesstoken")

    @admin.action(description=_("Revoke the selected tokens"), permissions=["revoke"])
    def revoke_tokens(self, request: HttpRequest, queryset: QuerySet[AccessToken]) -> None:
        done = sum(tokens.revoke(token, actor_of(request)) for token in queryset)
        self.message_user(request, ngettext("%d token revoked.", "%d tokens revoked.", done) % done)
