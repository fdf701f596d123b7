from typing import Any

from django.contrib.auth.models import User
from django.db import models


class LoginEvent(models.Model):
    user = models.ForeignKey(User, models.CASCADE, blank=True, null=True)
    succeeded = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.created_at}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.succeeded = bool(self.user_id)
        super().save(*args, **kwargs)
