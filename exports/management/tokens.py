"""`manage.py exports tokens`: list, create and revoke the API tokens of a user."""

from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist
from django.core.management.base import CommandError
from django.http import QueryDict
from django.utils import timezone

from exports.access import tenants, tokens
from exports.conf import config
from exports.http.tokens import TokenForm
from exports.models import AccessToken, Actor
from exports.models.audit import ActorKind
from exports.models.request import AnyUser
from exports.state import rfc3339

ACTOR = Actor(ActorKind.SYSTEM, name="command")


def add_arguments(parser: ArgumentParser) -> None:
    """Add the arguments of the verb to its parser."""
    parser.add_argument("action", choices=("list", "create", "revoke"), help="One of: list, create, revoke.")
    parser.add_argument("--user", required=True, help="The name of the user for whom the token acts.")
    parser.add_argument("--name", default="", help="The name of a new token, or of the one to revoke.")
    parser.add_argument("--can-create", action="store_true", help="It may request, change and delete exports.")
    parser.add_argument("--type", action="append", default=[], metavar="FILE_TYPE", help="It opens this type only.")
    parser.add_argument("--days", default="", help="For how many days it is valid; 90 by default.")
    parser.add_argument("--tenant", default="", help="The key of the tenant, on a site that has several.")


def run(
    action: str, *, user: str, name: str, can_create: bool, type: Sequence[str], days: str, tenant: str
) -> Iterator[str]:
    """Yield the lines to print; of a new token its text alone. Raise CommandError for what cannot be done."""
    if not config.ACCESS_TOKENS:
        raise CommandError("This site has no API tokens: EXPORTS['ACCESS_TOKENS'] is False.")
    try:
        owner: AnyUser = get_user_model()._default_manager.get_by_natural_key(user)
    except ObjectDoesNotExist as error:
        raise CommandError(f"There is no user {user!r}.") from error
    with tenants.active(tenant):
        own = AccessToken.objects.of_tenant().filter(owner=owner.pk)
        if action == "create":
            yield _create(owner, name=name, can_create=can_create, types=type, days=days)
        elif action == "revoke":
            named = [token for token in own.filter(name=name) if tokens.revoke(token, ACTOR)]
            if not named:
                raise CommandError(f"{user} has no valid token {name!r}.")
            yield from (f"revoked: {token}" for token in named)
        else:
            for token in own:
                state = "valid" if token.is_valid else "revoked" if token.revoked_at else "expired"
                rights = "creates" if token.can_create else "reads"
                opened = ", ".join(token.exporters) or "all types"
                used, expires = rfc3339(token.last_used_at) or "never", rfc3339(token.expires_at) or "never"
                yield f"{token}: {state}, {rights} {opened}; last used: {used}; expires: {expires}"


# Any: the values of a form.
def _create(owner: AnyUser, *, days: str, types: Sequence[str], **fields: Any) -> str:
    posted = QueryDict(mutable=True)
    posted.update(fields)
    posted.setlist("types", [*types])
    form = TokenForm(posted, user=owner)
    posted["days"] = days or str(form.fields["days"].initial)
    if not form.is_valid():
        reasons = [
            f"--{name.replace('types', 'type')}: {' '.join(map(str, errors))}" for name, errors in form.errors.items()
        ]
        raise CommandError(" ".join(reasons).replace("--__all__: ", ""))
    days_valid = form.cleaned_data["days"]
    _token, text = tokens.create(
        owner,
        form.cleaned_data["name"],
        ACTOR,
        can_create=form.cleaned_data["can_create"],
        exporters=form.cleaned_data.get("types", ()),
        expires_at=timezone.now() + timedelta(days=days_valid),
    )
    return text
