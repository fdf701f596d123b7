"""What users of a site with another user model do, from the request to the mail. Prints what they saw as JSON."""

import json

from asgiref.sync import async_to_sync
from django.contrib.auth.models import Permission
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.test.utils import setup_test_environment

from exports.models import AuditEntry, FileRequest
from tests.office.browsers import JSON, signed_in
from tests.office.pages import opened
from tests.stacks.people.models import Person


async def first_state(client: Client) -> str:
    async with opened(client) as page:
        return (await page.next_state())["status"]


setup_test_environment()
person, boss = Person.objects.create_user("kim@example.com"), Person.objects.create_user("boss@example.com")
person.user_permissions.add(Permission.objects.get(codename="view_person"))
Person.objects.filter(pk=boss.pk).update(is_staff=True, is_superuser=True)
client = signed_in(person)
asked = client.post("/exports/new/people/", {"format": "csv"}, headers=JSON)
seen = {"asked": asked.status_code, "stranger": signed_in(boss).get("/exports/").content.count(b"export-progress")}
seen["socket"] = async_to_sync(first_state)(client)
call_command("exports", "process", verbosity=0)
export = FileRequest.objects.get()
state = client.get(f"/exports/{export.pk}/").json()
seen["file"] = client.get(state["urls"]["ticket"]).getvalue().decode("utf-8-sig").split()[1:]
seen["expected"] = [f"{person.pk},{person.address}"]
seen["mails"] = [message.to for message in mail.outbox]
admin = signed_in(boss)
for path in ("", f"{export.pk}/change/", "?q=kim"):
    answer = admin.get(f"/admin/exports/filerequest/{path}")
    seen[f"admin {path.rpartition('/')[2] or path[-7:]}"] = (answer.status_code, b"kim@example.com" in answer.content)
seen["audit"] = sorted(set(AuditEntry.objects.filter(verb="download").values_list("user_id", "outcome")))
seen["audit page"] = admin.get("/admin/exports/auditentry/").status_code
seen["again"] = client.post(f"/exports/{export.pk}/retry/", {"fresh": "1"}, headers=JSON).status_code
shared = client.post(f"/exports/{export.pk}/share/", headers=JSON).json()["public_link"]
seen["public"] = Client().get(shared.removeprefix("https://exports.example")).getvalue().decode("utf-8-sig").split()[1:]
call_command("exports", "explain", "people", user="kim@example.com")
print(json.dumps(seen, default=str))
