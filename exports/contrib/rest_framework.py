"""The user of a request by Django REST framework, for those who have it.

EXPORTS["AUTHENTICATE"] = "exports.contrib.rest_framework.authenticate"
"""

from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.settings import api_settings


# Any: each authentication class has a user class, such as that of a JWT which names a user.
def authenticate(request: HttpRequest) -> Any:
    """Return the user whom one of DEFAULT_AUTHENTICATION_CLASSES finds, or None. Sessions are left to the app."""
    classes = [each for each in api_settings.DEFAULT_AUTHENTICATION_CLASSES if each is not SessionAuthentication]
    try:
        user = Request(request, authenticators=[each() for each in classes]).user
    except AuthenticationFailed:
        return None
    return user if user and user.is_authenticated else None
