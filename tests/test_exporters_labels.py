"""The label of an export: what its form asks for, in words, and the part of the file name that is made of it."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from django import forms
from django.contrib.auth.models import User
from django.http import QueryDict
from django.test import Client
from django.utils import translation

from exports import services
from exports.exporters.labels import MAX_LENGTH, bounded, describe_form
from exports.filenames import MAX_SLUG_BYTES, slug_of
from exports.models import FileRequest
from exports.notifications import compose
from tests.office import rows
from tests.shop.exports import OrderExport, registered


class EveryField(forms.Form):
    month = forms.TypedChoiceField(choices=[("", "All"), ("Winter", [(1, "January")])], coerce=int, required=False)
    tiers = forms.MultipleChoiceField(choices=[(n, f"Tier {n}") for n in range(9)], required=False)
    since = forms.DateField(label="Placed since", required=False)
    gift = forms.BooleanField(required=False)
    amount = forms.DecimalField(localize=True, required=False)
    size = forms.ChoiceField(choices=[("s", "Small"), ("l", "Large")], initial="s")
    api_token = forms.CharField(required=False)
    pin = forms.CharField(widget=forms.PasswordInput, required=False)
    email = forms.CharField(required=False)
    step = forms.CharField(widget=forms.HiddenInput, required=False)


def label(query: str, **options: Any) -> str:
    form = EveryField(QueryDict(f"size=s&{query}"))
    assert form.is_valid(), form.errors
    return describe_form(form, **options)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", ""),
        ("month=1", "Month: January"),
        ("size=l", "Size: Large"),
        ("tiers=1&tiers=2", "Tiers: Tier 1, Tier 2"),
        ("since=2026-01-31", "Placed since: 01/31/2026"),
        ("gift=on", "Gift: yes"),
        ("month=1&amount=1234.5", "Month: January · Amount: 1234.5"),
    ],
)
def test_the_label_has_labels_and_values_as_the_form_shows_them(query: str, said: str) -> None:
    assert label(query) == said


def test_many_values_are_counted() -> None:
    query = "&".join(f"tiers={number}" for number in range(8))
    assert label(query) == "Tiers: Tier 0, Tier 1, Tier 2, Tier 3, Tier 4 and 3 more"


def test_numbers_and_dates_are_in_the_active_language() -> None:
    with translation.override("de"):
        assert label("since=2026-01-31&amount=1234,5") == "Placed since: 31.01.2026 · Amount: 1234,5"


def test_secrets_and_hidden_fields_stay_out() -> None:
    query = "api_token=t0ken&pin=1234&email=ada@example.com&step=2&gift=on"
    assert label(query, secret=("email",)) == "Gift: yes"


def test_a_label_is_one_line_of_bounded_length() -> None:
    assert bounded("a\u202eb\r\n  c\x00") == "a b c"
    assert len(bounded("x" * 500)) == MAX_LENGTH


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("From month: January · Airport: JFK", "from-month-january-airport-jfk"),
        ("Straße: Ü/Ö", "straße-ü-ö"),
        ("月: 一月", "月-一月"),
        ("महीना: जनवरी", "महीना-जनवरी"),
        ("../..\\x\u202e:*?", "x"),
        ("· / ·", ""),
    ],
)
def test_a_slug_keeps_the_letters_of_every_language(text: str, slug: str) -> None:
    assert slug_of(text) == slug


@pytest.mark.parametrize("letter", ["a", "é", "月", "😀a"])
def test_a_slug_is_bounded_in_bytes(letter: str) -> None:
    assert 0 < len(slug_of(letter * 300).encode()) <= MAX_SLUG_BYTES


@pytest.mark.django_db
@pytest.mark.usefixtures("woken")
def test_an_export_may_describe_itself(owner: User) -> None:
    class Described(OrderExport):
        file_type = "described"

        def describe(self, criteria: Mapping[str, Any]) -> str | None:
            return f"only {criteria['status']} ones" if criteria["status"] else None

    with registered(Described):
        described, _ = services.request_export(owner, "described", {"status": "open"})
        derived, _ = services.request_export(owner, "described", {"at_least": "3"})
    assert (described.label, derived.label) == ("only open ones", "At least: 3")
    assert described.filename == f"described-only-open-ones-{date.today().isoformat()}.csv"


@pytest.mark.django_db
@pytest.mark.usefixtures("office")
@pytest.mark.parametrize("place", ["page", "list", "json"])
def test_the_label_is_wherever_the_export_is_shown(browser: Client, owner: User, place: str) -> None:
    export = rows.ready(owner, label="Month: April")
    urls = {"page": f"/exports/{export.pk}/page/", "list": "/exports/", "json": f"/exports/{export.pk}/"}
    page = browser.get(urls[place]).content.decode()
    if place == "json":
        assert '"label": "Month: April"' in page
        return
    assert '<p class="export-label" data-part="label">Month: April</p>' in page
    assert 'aria-label="Export: Report, Month: April"' in page
    assert 'aria-label="Cancel export: Report, Month: April"' in page
    assert ("<dd>Month: April</dd>" in page) == (place == "page")


@pytest.mark.django_db
@pytest.mark.usefixtures("office")
def test_the_mail_names_the_label(owner: User) -> None:
    export = rows.failed(owner, label="Month: April")
    mail = compose([export.notifications.get()])
    assert mail.subject == "Report, Month: April: the export failed"


@pytest.mark.django_db
@pytest.mark.usefixtures("office")
def test_a_ready_export_says_without_javascript_when_it_was_made(browser: Client, owner: User) -> None:
    export = rows.ready(owner)
    FileRequest.objects.filter(pk=export.pk).update(
        started_at="2026-01-02T10:00:00Z", finished_at="2026-01-02T10:00:01.2Z"
    )
    page = browser.get("/exports/").content.decode()
    assert "2,000 rows · made Jan. 2, 2026, 10 a.m. in 2 seconds" in page
