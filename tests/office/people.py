"""Users, and the users of the access table."""

from collections.abc import Callable

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission, User

from tests.office.exports import REFUSED

PASSWORD = "correct horse battery staple"


def user(name: str, *permissions: str, **columns: object) -> User:
    """A user of this name with these permissions of the app, such as "view_filerequest"."""
    made = get_user_model().objects.create_user(name, f"{name}@example.com", PASSWORD, **columns)
    made.user_permissions.set(Permission.objects.filter(content_type__app_label="exports", codename__in=permissions))
    return made


def staff(name: str, *permissions: str) -> User:
    return user(name, *permissions, is_staff=True)


def deactivate(someone: User) -> User:
    get_user_model().objects.filter(pk=someone.pk).update(is_active=False)
    return someone


def refuse(someone: User) -> User:
    """Let the export of `someone` refuse them from now on."""
    someone.groups.add(Group.objects.get_or_create(name=REFUSED)[0])
    return someone


VIEW, CHANGE, ANY = "view_filerequest", "change_filerequest", "download_any_filerequest"

# Makes each user of the table, given the owner of the export.
PEOPLE: dict[str, Callable[[User], User | None]] = {
    "anonymous": lambda owner: None,
    "stranger": lambda owner: user("stranger"),
    "owner": lambda owner: owner,
    "deactivated owner": deactivate,
    "bare staff": lambda owner: staff("bare"),
    "viewer": lambda owner: staff("viewer", VIEW),
    "changer": lambda owner: staff("changer", VIEW, CHANGE),
    "downloader": lambda owner: staff("downloader", VIEW, ANY),
    "steward": lambda owner: staff("steward", VIEW, CHANGE, ANY),
    "refused owner": refuse,
}
