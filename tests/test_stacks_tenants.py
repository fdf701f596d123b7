"""Sites with tenants, by docs/tenants.md: each export keeps the tenant in which it was requested."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
from asgiref.sync import sync_to_async
from django.conf import LazySettings
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.utils import timezone

from exports import notifications, services, storage
from exports.access import tenants
from exports.checks.site import check_tenants
from exports.exporters import QuerySetExport
from exports.models import AuditEntry, FileRequest, Notification, Preset
from exports.models.audit import Actor
from exports.worker import loop
from tests.office import people, rows
from tests.office.browsers import JSON, signed_in
from tests.office.pages import opened
from tests.shop.exports import registered
from tests.stacks.project import block

PAGE = "tenants"
NORTH, SOUTH = {"host": "north.yours.example"}, {"host": "south.yours.example"}

pytestmark = [pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def site(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Configure the site as the page says, with the export of the page; return its module `yours.tenants`."""
    yours, module = ModuleType("yours"), ModuleType("yours.tenants")
    exec(block(PAGE, "yours/tenants.py"), vars(module))
    monkeypatch.setitem(sys.modules, "yours", yours)
    monkeypatch.setitem(sys.modules, "yours.tenants", module)
    monkeypatch.setattr(yours, "tenants", module, raising=False)
    exec(block(PAGE, "settings for tenants"), given := {"MIDDLEWARE": [*settings.MIDDLEWARE]})
    settings.MIDDLEWARE, settings.EXPORTS = given["MIDDLEWARE"], {**settings.EXPORTS, **given["EXPORTS"]}
    settings.ALLOWED_HOSTS = [".yours.example"]
    exec(block(PAGE, "an export of a tenant"), names := {"QuerySetExport": QuerySetExport, "User": User})
    with registered(names["MembersExport"]):
        yield module


@pytest.fixture
def member(db: None) -> User:
    """Return a user of the tenants north and south, who is not alone in the south."""
    owner, other = people.user("owner"), people.user("other")
    north, south = Group.objects.create(name="north"), Group.objects.create(name="south")
    owner.groups.set([north, south])
    other.groups.set([south])
    return owner


def ask(client: Client, host: dict[str, str]) -> FileRequest:
    answer = client.post("/exports/new/members/", {"format": "csv"}, headers={**JSON, **host})
    assert answer.status_code == 202, answer.content
    return FileRequest.objects.get(pk=answer.json()["id"])


def lines(export: FileRequest) -> list[str]:
    with storage.open_file(rows.fresh(export).filehandle.name) as file:
        return file.read().decode("utf-8-sig").split()


@pytest.mark.shows("tenants")
@pytest.mark.shows("base URL per site")
def test_each_export_is_made_listed_and_mailed_in_its_tenant(member: User, site: ModuleType):
    client = signed_in(member)
    north, south = ask(client, NORTH), ask(client, SOUTH)
    assert (north.tenant, south.tenant, north.pk != south.pk) == ("north", "south", True)
    assert loop.WorkerLoop(None).run_due() == 2
    assert lines(north) == ["Username", "owner"]
    assert sorted(lines(south)) == ["Username", "other", "owner"]
    assert (tenants.current(), site.prepared) == ("", [])

    assert client.get(f"/exports/{north.pk}/", headers=NORTH).json()["status"] == "ready"
    assert client.get(f"/exports/{south.pk}/", headers=NORTH).status_code == 404
    shown = client.get("/exports/", headers=NORTH).content.decode()
    assert (str(north.pk) in shown, str(south.pk) in shown) == (True, False)
    assert notifications.page_url(south).startswith("https://south.yours.example/exports/")


def test_permission_is_asked_in_the_tenant_of_the_export_everywhere(member: User, site: ModuleType):
    export = ask(signed_in(member), NORTH)
    member.groups.remove(Group.objects.get(name="north"))
    loop.WorkerLoop(None).run_due()
    assert rows.fresh(export).error_code == "permission_lost"


def test_presets_belong_to_the_tenant_in_which_they_were_saved(member: User):
    member.user_permissions.add(Permission.objects.get(codename="share_preset"))
    client, given = signed_in(member), {"format": "csv", "preset_name": "Ours", "preset_shared": "1"}
    for host in (SOUTH, NORTH, SOUTH):
        assert client.post("/exports/new/members/presets/", given, headers={**JSON, **host}).status_code == 201
    in_south = Preset.objects.get(tenant="south")
    other = signed_in(User.objects.get(username="other"))
    assert f"preset={in_south.pk}" in other.get("/exports/new/members/", headers=SOUTH).content.decode()
    assert other.get(f"/exports/new/members/?preset={in_south.pk}", headers=SOUTH).status_code == 200
    assert client.get(f"/exports/new/members/?preset={in_south.pk}", headers=NORTH).status_code == 404
    assert client.post(f"/exports/presets/{in_south.pk}/delete/", headers={**JSON, **NORTH}).status_code == 404


def test_an_estimate_takes_its_pace_from_the_files_of_the_tenant(member: User):
    client = signed_in(member)
    ask(client, SOUTH)
    loop.WorkerLoop(None).run_due()
    for host, is_known in ((SOUTH, True), (NORTH, False)):
        answer = client.post("/exports/new/members/estimate/", {"format": "csv"}, headers={**JSON, **host})
        assert (answer.json()["rows"], answer.json()["bytes"] is not None) == (2 if is_known else 1, is_known)


def test_an_export_is_tried_again_in_its_tenant_from_anywhere(member: User):
    export = ask(signed_in(member), SOUTH)
    services.cancel(export, Actor.of(member))
    assert services.retry(rows.fresh(export), Actor.of(member))[0].tenant == "south"


def test_staff_see_mails_presets_and_audit_log_of_their_tenant_only(member: User):
    export = ask(signed_in(member), SOUTH)
    mail = Notification.objects.create(request=export, kind="ready", message_id="<of.south>", due_at=timezone.now())
    preset = Preset.objects.create(owner=member, file_type="members", name="Ours", tenant="south")
    shown = {"notification": mail, "preset": preset, "auditentry": AuditEntry.objects.get(export=export)}
    staff = signed_in(people.user("staff", *(f"view_{name}" for name in shown), is_staff=True))
    for name, row in shown.items():
        for host, found in ((SOUTH, True), (NORTH, False)):
            listed = staff.get(f"/admin/exports/{name}/", headers=host).content.decode()
            assert (f"/admin/exports/{name}/{row.pk}/change/" in listed) == found
            answer = staff.get(f"/admin/exports/{name}/{row.pk}/change/", headers=host)
            assert answer.status_code == (200 if found else 302)


def test_staff_see_the_exports_of_the_tenant_and_on_the_main_site_those_of_all(member: User):
    export = ask(signed_in(member), SOUTH)
    staff = people.user("staff", "view_filerequest", is_staff=True)
    for host, found in ((SOUTH, 200), (NORTH, 302)):
        answer = signed_in(staff).get(f"/admin/exports/filerequest/{export.pk}/change/", headers=host)
        assert answer.status_code == found


@pytest.mark.usefixtures("channel_layer")
async def test_a_socket_follows_the_exports_of_its_host_alone(member: User, settings: LazySettings):
    client = await sync_to_async(signed_in)(member)
    south = await sync_to_async(ask)(client, SOUTH)
    async with opened(client, host="north.yours.example") as page:
        north = await sync_to_async(ask)(client, NORTH)
        assert (await page.next_state())["id"] == str(north.pk)
        await sync_to_async(services.cancel)(south, Actor.of(member))
        await sync_to_async(services.cancel)(north, Actor.of(member))
        states = await page.states_until(lambda state: state["status"] == "cancelled")
        assert {state["id"] for state in states} == {str(north.pk)}


def test_a_site_without_the_middleware_is_an_error(settings: LazySettings):
    assert list(check_tenants()) == []
    settings.MIDDLEWARE = settings.MIDDLEWARE[:-1]
    assert [message.id for message in check_tenants()] == ["exports.E048"]
