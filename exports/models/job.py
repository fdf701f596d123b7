"""DelegatedJob: the job of an engine that makes the file of an export."""

from typing import Self

from django.db import models

from exports.models.request import ACTIVE, FileRequest


class DelegatedJobQuerySet(models.QuerySet["DelegatedJob"]):
    """Queries for housekeeping."""

    def unneeded(self) -> Self:
        """Keep the jobs of exports that have ended, or whose row is gone."""
        return self.exclude(request__status__in=ACTIVE)


class DelegatedJob(models.Model):
    """A job that an engine was told to start, recorded before it is, so that another worker finds it.

    It outlives its request: the engine ends the job however the request was deleted. `handle` is NULL until the engine
    has answered.
    """

    request = models.OneToOneField(
        FileRequest, null=True, on_delete=models.SET_NULL, related_name="delegated_job", editable=False
    )
    file_type = models.CharField(max_length=100)
    handle = models.JSONField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DelegatedJobQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.file_type} job of {self.request_id}"
