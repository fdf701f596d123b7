"""docs/admin.md is tested: its ModelAdmins export their lists, and its comparison counts lines."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import Client
from django.urls import include, path

import tests.shop.models
from exports.exporters import registry
from exports.models import FileRequest
from tests.office.browsers import JSON, signed_in
from tests.shop.models import Customer, Order
from tests.shop.runs import use_folders
from tests.test_admin_export import lines_of

pytestmark = pytest.mark.django_db(transaction=True)

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "admin.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    """An admin site with the lists of the guide."""
    use_folders(settings, tmp_path)
    site = admin.AdminSite()
    monkeypatch.setattr("django.contrib.admin.sites.site", site)
    monkeypatch.setitem(sys.modules, "shop", tests.shop)
    monkeypatch.setitem(sys.modules, "shop.models", tests.shop.models)
    monkeypatch.setattr(registry, "handlers", {})
    names: dict[str, Any] = {"__name__": "shop.admin"}
    for block in BLOCKS:
        exec(block, names)
    urls = [path("admin/", site.urls), path("exports/", include("exports.urls"))]
    settings.LOGIN_URL = "admin:login"
    settings.ROOT_URLCONF = type("Urls", (SimpleNamespace,), {"urlpatterns": urls})
    ada = Customer.objects.create(name="Ada", city="Oslo")
    Order.objects.create(number="n1", customer=ada, quantity=20)
    Order.objects.create(number="n2", customer=ada, status="sent")


@pytest.fixture
def client() -> Client:
    return signed_in(User.objects.create_superuser("root"))


def exported(client: Client, model: str, **fields: Any) -> list[list[str]]:
    answer = client.post(f"/admin/shop/{model}/export/", {"format": "csv", **fields}, headers=JSON)
    return lines_of(FileRequest.objects.get(pk=answer.json()["id"]))


def test_the_lists_of_the_guide_are_exported(client: Client):
    assert exported(client, "order", query="status__exact=open") == [
        ["Order number", "Customer", "Customer city", "Large"],
        ["n1", "Ada", "Oslo", "true"],
    ]
    assert exported(client, "customer") == [["Full name", "City", "Orders"], ["Ada", "Oslo", "2"]]
    choices = client.get("/admin/shop/customer/export/").context["format_choices"]
    assert [value for value, _label in choices] == ["xlsx", "csv"]


def test_the_checks_accept_the_guide():
    assert run_checks(tags=["exports"]) == []


def test_no_more_lines_are_needed_than_with_django_import_export():
    ours, theirs = BLOCKS[0], BLOCKS[-1]
    counts = [
        len(re.findall(r"^from \S+ import Export\w+$|^class \w+\(Export\w+, ", each, re.M)) for each in (ours, theirs)
    ]
    [stated] = re.findall(r"^\| lines to add .* \| (\d) \| (\d) \|$", GUIDE, re.M)
    assert [str(count) for count in reversed(counts)] == list(stated)
    assert counts[0] <= counts[1]
