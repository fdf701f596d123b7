"""The user of exports that the site itself requests: no person, and allowed everything."""

from django.contrib.auth.models import AnonymousUser


class SystemUser(AnonymousUser):
    """The owner of an export that `manage.py exports run --system` requested.

    It counts as signed in and holds every permission, and it is no row: a rule or a queryset that looks for the objects
    of a user must be asked with the name of one.
    """

    username = "system"  # type: ignore[assignment]
    email = ""
    is_active = True  # type: ignore[assignment]

    @property
    def is_authenticated(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_anonymous(self) -> bool:  # type: ignore[override]
        return False

    @classmethod
    def get_email_field_name(cls) -> str:
        return "email"

    # Any: the object of the permission, whatever the project asks about.
    def has_perm(self, perm: str, obj: object = None) -> bool:
        return True

    def has_perms(self, perm_list: object, obj: object = None) -> bool:
        return True

    def has_module_perms(self, module: str) -> bool:
        return True


SYSTEM_USER = SystemUser()
