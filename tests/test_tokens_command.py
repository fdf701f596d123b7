"""What operators do with API tokens: the command, and the action of the admin."""

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.test import Client

from exports.access import tokens
from exports.models import AccessToken, AuditEntry
from exports.models.audit import SYSTEM
from tests.office import people
from tests.office.browsers import signed_in

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("office")]

LIST = "/admin/exports/accesstoken/"


@pytest.fixture
def run(owner: User, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs the command for the owner, and returns the lines that it prints."""

    def run(action: str, *arguments: str, user: str = "owner") -> list[str]:
        call_command("exports", "tokens", action, "--user", user, *arguments)
        return capsys.readouterr().out.splitlines()

    return run


def status_of(text: str) -> int:
    return Client().get("/exports/", headers={"authorization": f"Bearer {text}"}).status_code


def test_the_command_prints_a_new_token_lists_it_and_revokes_it(run):
    [text] = run("create", "--name", "nightly", "--type", "report", "--days", "3")
    [other] = run("create", "--name", "all", "--can-create")
    token = AccessToken.objects.get(name="nightly")
    valid_days = round((token.expires_at - token.created_at).total_seconds() / 86400)
    assert (token.exporters, token.can_create, valid_days) == (["report"], False, 3)
    assert [status_of(text), status_of(other)] == [200, 200]
    listed = run("list")
    assert [line.partition("; ")[0] for line in listed] == [
        f"all {other[:10]}: valid, creates all types",
        f"nightly {text[:10]}: valid, reads report",
    ]
    assert "last used: never" not in listed[1]
    assert run("revoke", "--name", "nightly") == [f"revoked: {token}"]
    assert [status_of(text), status_of(other)] == [401, 200]
    assert "revoked" in run("list")[1]
    entries = AuditEntry.objects.filter(verb="token", reason__contains="nightly").values_list("actor_name", "reason")
    assert set(entries) == {("command", f"created: {token}"), ("command", f"revoked: {token}")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "--name", ""), "--name: This field is required."),
        (("create", "--name", "x", "--type", "nowhere"), "--type: .*nowhere"),
        (("create", "--name", "x", "--days", "soon"), "--days: Enter a whole number."),
        (("create", "--name", "x", "--days", "400"), "--days: .*365"),
        (("revoke", "--name", "x"), "owner has no valid token 'x'"),
    ],
)
def test_the_command_says_what_is_wrong(run, arguments: tuple[str, ...], message: str):
    with pytest.raises(CommandError, match=message):
        run(*arguments)
    with pytest.raises(CommandError, match="There is no user 'ghost'"):
        run(*arguments, user="ghost")
    assert not AccessToken.objects.exists()


def test_a_site_without_tokens_has_no_command(run, settings: LazySettings):
    settings.EXPORTS = {**settings.EXPORTS, "ACCESS_TOKENS": False}
    with pytest.raises(CommandError, match="ACCESS_TOKENS"):
        run("list")


@pytest.mark.parametrize("may_revoke", [True, False])
def test_staff_with_the_permission_revoke_tokens_in_the_admin(owner: User, may_revoke: bool):
    token, text = tokens.create(owner, "nightly", SYSTEM)
    staff = people.staff("staff")
    names = ["view_accesstoken", *(["change_accesstoken"] if may_revoke else [])]
    staff.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser = signed_in(staff)
    assert token.prefix.encode() in browser.get(LIST).content
    page = browser.get(f"{LIST}{token.pk}/change/").content.decode()
    assert ("nightly" in page, token.digest in page) == (True, False)
    browser.post(LIST, {"action": "revoke_tokens", "_selected_action": [token.pk]})
    assert status_of(text) == (401 if may_revoke else 200)
    recorded = AuditEntry.objects.filter(verb="token", user=staff.pk)
    assert [each.reason for each in recorded] == ([f"revoked: {token}"] if may_revoke else [])
