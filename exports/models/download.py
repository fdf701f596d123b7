"""Download: the audit log of downloads."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from exports.models.request import FileRequest


class Download(models.Model):
    """One download: who got which file, when, how many bytes of it, and how it ended.

    The row is inserted when the response begins and updated once when it ends. `user` is NULL for downloads by a
    public link. `byte_count` is the length of the response; `bytes_sent` is how much of it the web server took, NULL
    when another server sends the file.
    """

    class Outcome(models.TextChoices):
        # Also the outcome of a download whose process died.
        BEGUN = "begun", _("Begun")
        COMPLETED = "completed", _("Completed")
        ABORTED = "aborted", _("Aborted")
        REDIRECTED = "redirected", _("Redirected to the storage")
        HANDED_OVER = "handed_over", _("Handed over to the web server")

    request = models.ForeignKey(FileRequest, null=True, on_delete=models.SET_NULL, related_name="downloads")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    file_type = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)
    address = models.CharField(max_length=45, blank=True)
    first_byte = models.BigIntegerField(default=0)
    byte_count = models.BigIntegerField()
    bytes_sent = models.BigIntegerField(null=True)
    outcome = models.CharField(max_length=20, choices=Outcome, default=Outcome.BEGUN)
    is_public = models.BooleanField(default=False)

    class Meta:
        ordering = ("-at",)
        indexes = (models.Index(fields=["at"], name="exports_download_at"),)

    def __str__(self) -> str:
        return f"{self.byte_count} bytes of {self.file_type} at {self.at}"

    def end(self, sent: int) -> None:
        """Record that the response ended after `sent` bytes."""
        outcome = self.Outcome.COMPLETED if sent == self.byte_count else self.Outcome.ABORTED
        begun = Download.objects.filter(pk=self.pk, outcome=self.Outcome.BEGUN)
        begun.update(outcome=outcome, bytes_sent=sent)
