"""Artifact: the record of each file that may be in the storage."""

from typing import Self

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils.translation import gettext_lazy as _

from exports.models.request import DatabaseTime, FileRequest, Status


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    """Queries for housekeeping."""

    def deletable(self, kept_since: DatabaseTime) -> Self:
        """Select files that nothing needs any more. Files of exports that ended after `kept_since` are still needed."""
        export = FileRequest.objects.filter(pk=OuterRef("request"))
        readable = export.filter(
            Q(status=Status.READY) | Q(status=Status.EXPIRED, expires_at__gte=kept_since), filehandle=OuterRef("key")
        )
        # Outside a run, `attach` stores under the next epoch, while the request waits or already has a file.
        in_the_making = export.filter(
            Q(status=Status.RUNNING, epoch=OuterRef("epoch"))
            | Q(status__in=(Status.QUEUED, Status.READY), epoch__lt=OuterRef("epoch"))
        )
        # Stored rows serve each attempt, and another request that retries this one.
        input_needed = export.filter(
            Q(status__in=(Status.QUEUED, Status.RUNNING))
            | Q(status__in=(Status.FAILED, Status.CANCELLED), finished_at__gte=kept_since)
        )
        just_stored = Q(request=None, created_at__gte=kept_since)
        kept = (
            Q(Q(Exists(input_needed)) | just_stored, state=Artifact.State.INPUT)
            | Q(Exists(readable), state=Artifact.State.PUBLISHED)
            | Q(Exists(in_the_making), state=Artifact.State.STAGED)
        )
        return self.exclude(state=Artifact.State.DELETED).exclude(kept)


class Artifact(models.Model):
    """A storage key, recorded before its first byte is written, so that unneeded files are found without a listing.

    It outlives its request: the key stays known until the file is deleted, however the request was deleted.
    """

    class State(models.TextChoices):
        INPUT = "input", _("Input")
        STAGED = "staged", _("Staged")
        PUBLISHED = "published", _("Published")
        DELETED = "deleted", _("Deleted")

    request = models.ForeignKey(FileRequest, null=True, on_delete=models.SET_NULL, related_name="artifacts")
    epoch = models.PositiveIntegerField()
    key = models.CharField(max_length=255, unique=True)
    state = models.CharField(max_length=10, choices=State, default=State.STAGED)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)

    objects = ArtifactQuerySet.as_manager()

    class Meta:
        indexes = (models.Index(fields=["state", "deleted_at"], name="exports_artifact_state"),)

    def __str__(self) -> str:
        return f"{self.key} ({self.state})"
