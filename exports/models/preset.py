"""Presets: what a user has chosen in the form of an export, kept under a name."""

from typing import Any, Self

from django.conf import settings
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from exports.access import tenants
from exports.conf import config
from exports.models.audit import Actor, AuditEntry, record, refuse_reader
from exports.models.request import AnyUser
from exports.models.token import within_token
from exports.storage.field import FileNameField


class PresetQuerySet(models.QuerySet["Preset"]):
    """Queries of the form."""

    def of_tenant(self) -> Self:
        """Keep the presets of the current tenant, or all of a site without tenants."""
        return self if config.TENANT_OF is None else self.filter(tenant=tenants.current())

    def owned_by(self, user: AnyUser) -> Self:
        """Keep the user's own presets of the tenant."""
        own: Self = within_token(self.of_tenant().filter(owner=user.pk), user)
        return own

    def open_to(self, user: AnyUser) -> Self:
        """Keep the user's own presets, and those that are shared with all users of the tenant."""
        is_open = models.Q(owner=user.pk) | models.Q(is_shared=True)
        found: Self = within_token(self.of_tenant().filter(is_open), user)
        return found


class Preset(models.Model):
    """The criteria, format, options and columns of an export. Opening one asks nothing but to fill in the form.

    Who requests a file with it needs the permission for the export, like any user of the form.
    """

    file_type = models.CharField(_("file type"), max_length=100)
    name = FileNameField(max_length=100, verbose_name=_("name"))
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("owner"), on_delete=models.CASCADE, related_name="export_presets"
    )
    is_shared = models.BooleanField(_("is shared"), default=False)
    criteria = models.TextField(blank=True)
    format = models.CharField(_("format"), max_length=20)
    options = models.JSONField(default=dict, blank=True)
    columns = models.JSONField(default=list, blank=True)
    changed_at = models.DateTimeField(_("changed at"), default=timezone.now)
    tenant = models.CharField(max_length=100, blank=True, editable=False, default=tenants.current, db_default="")

    objects = PresetQuerySet.as_manager()

    class Meta:
        verbose_name = _("preset")
        verbose_name_plural = _("presets")
        ordering = ("name", "pk")
        permissions = (("share_preset", "Can share presets with all users"),)
        constraints = (
            models.UniqueConstraint(
                fields=["owner", "file_type", "name", "tenant"], name="exports_one_preset_per_name"
            ),
        )

    def __str__(self) -> str:
        return self.name


# Any: the values of columns.
def save_preset(owner_id: Any, file_type: str, name: str, actor: Actor, **chosen: Any) -> Preset:
    """Save a preset, in place of one of the same owner, tenant and name, with an entry in the audit log.

    Raise ReadOnlyToken.
    """
    refuse_reader(actor, AuditEntry.Verb.PRESET, file_type=file_type)
    own = {"owner_id": owner_id, "file_type": file_type, "name": name, "tenant": tenants.current()}
    with transaction.atomic():
        preset, _is_new = Preset.objects.update_or_create(**own, defaults={**chosen, "changed_at": timezone.now()})
        _record(preset, "shared" if preset.is_shared else "saved", actor)
    return preset


def delete_preset(preset: Preset, actor: Actor) -> None:
    """Delete a preset, with an entry in the audit log. Raise ReadOnlyToken."""
    refuse_reader(actor, AuditEntry.Verb.PRESET, file_type=preset.file_type)
    with transaction.atomic():
        _record(preset, "deleted", actor)
        preset.delete()


def _record(preset: Preset, what: str, actor: Actor) -> None:
    reason = f"{what}: {preset.name}"[:100]
    record(AuditEntry.Verb.PRESET, None, actor, file_type=preset.file_type, reason=reason)
