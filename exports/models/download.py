"""The download log."""

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from exports.models.request import FileRequest


class Download(models.Model):
    """Who was handed which file, when, how much of it, and how that ended. By a link for anyone (`is_public`) it is
    nobody known. A row is added as the download begins, and told once how it ended.

    `byte_count` is what the answer promised; `bytes_sent` what the web server took of it, null where another server
    sends the bytes, and only knows itself.
    """

    class Outcome(models.TextChoices):
        # Also what is left where the process ended in the middle.
        BEGUN = "begun", _("Begun")
        COMPLETED = "completed", _("Completed")
        ABORTED = "aborted", _("Aborted")
        REDIRECTED = "redirected", _("Led to the storage")
        HANDED_OVER = "handed_over", _("Left to the web server")

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
        """The answer ended after so many bytes, whole or not."""
        outcome = self.Outcome.COMPLETED if sent == self.byte_count else self.Outcome.ABORTED
        begun = Download.objects.filter(pk=self.pk, outcome=self.Outcome.BEGUN)
        begun.update(outcome=outcome, bytes_sent=sent)
