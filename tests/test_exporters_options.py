"""The options of CSV: defaults of an export, what the language of the user decides, and fields in the form."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils import timezone, translation

from exports import services, storage
from exports.exceptions import BadOption
from exports.exporters import Column
from exports.exporters.options import with_language
from exports.models import FileRequest
from exports.shortcuts import export_response
from exports.tabular import writers
from exports.worker import loop
from tests.office.browsers import HTML, JSON
from tests.office.exports import ReportExport
from tests.office.markup import HtmlPage, check_labels
from tests.shop.exports import OrderExport, registered
from tests.shop.models import Order
from tests.shop.requests import NOON, user
from tests.shop.runs import use_folders

pytestmark = [pytest.mark.django_db]

FORM = "/exports/new/report/"


class ForPeople(OrderExport):
    file_type = "orders"
    columns = (Column("number"), Column("price"), Column("placed_at"))
    default_options = {"csv": {"profile": "spreadsheet"}}  # noqa: RUF012  # as a project would write it


class Offering(ReportExport):
    """Offers options of CSV in its form."""

    form_options = {"csv": ("profile", "delimiter", "formulas")}  # noqa: RUF012


def options_in(language: str, **given: object) -> dict[str, Any]:
    with translation.override(language):
        return ForPeople().clean_options(ForPeople().writer_of("csv"), given)


@pytest.mark.parametrize(
    ("language", "decimal", "delimiter"),
    [("en", ".", ","), ("de", ",", ";"), ("fr", ",", ";"), ("pt-br", ",", ";"), ("ja", ".", ","), ("nl", ",", ";")],
)
def test_the_language_decides_the_decimal_mark_and_the_delimiter(language: str, decimal: str, delimiter: str):
    options = options_in(language)
    assert (options["decimal"], options["delimiter"], options["bom"]) == (decimal, delimiter, True)


def test_options_of_the_request_go_before_those_of_the_export_and_the_language():
    assert options_in("de", delimiter="\t")["delimiter"] == "\t"
    assert options_in("de", decimal=".")["decimal"] == "."
    exchange = options_in("de", profile="exchange")
    assert (exchange["decimal"], exchange["delimiter"]) == (".", ",")
    with pytest.raises(BadOption, match="The delimiter is a comma too"):
        options_in("de", delimiter=",")


def test_the_language_decides_the_decimal_mark_of_tsv_too():
    with translation.override("de"):
        tsv = with_language(writers.get("tsv"), {"profile": "spreadsheet", "bom": False})
    assert tsv == {"profile": "spreadsheet", "decimal": ",", "bom": False}


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("language", "row"), [("de", b"A;1234,50;2026-06-01 14:00:00\r\n"), ("en", b"A,1234.50,2026-06-01 14:00:00\r\n")]
)
def test_a_spreadsheet_gets_local_times_and_numbers_of_its_language(
    settings: LazySettings, tmp_path: Path, language: str, row: bytes
):
    use_folders(settings, tmp_path)
    Order.objects.create(number="A", price=Decimal("1234.50"), placed_at=NOON)
    with registered(ForPeople):
        with translation.override(language):
            export, _ = services.request_export(user("ada"), "orders", {}, format="csv", time_zone="Europe/Berlin")
        loop.dispatch(export.pk)
    export.refresh_from_db()
    with storage.open_file(export.filehandle.name) as file:
        assert file.read().split(b"\r\n", 1)[1] == row


def test_rows_of_a_view_may_be_for_a_spreadsheet():
    request = RequestFactory().get("/")
    rows = [{"price": Decimal("1.5"), "at": NOON.replace(microsecond=5)}]
    with translation.override("de"), timezone.override("Europe/Berlin"):
        response = export_response(request, rows, format="csv", options={"profile": "spreadsheet"})
    content = response.getvalue()
    response.close()
    assert content.endswith(b"price;at\r\n1,5;2026-06-01 14:00:00\r\n")


# The form


@pytest.fixture
def offering(office: None):
    with registered(Offering):
        yield


def post(browser: Client, headers: dict[str, str] = JSON, **fields: str) -> HttpResponse:
    return browser.post(FORM, {"month": "4", "format": "csv", **fields}, headers=headers)


@pytest.mark.usefixtures("offering")
def test_the_form_offers_the_options_that_the_export_names(browser: Client):
    page = HtmlPage(browser.get(FORM).content.decode())
    check_labels(page)
    names = [select["name"] for select in page.all("select") if select["name"] != "format"]
    assert names == ["option_csv.profile", "option_csv.delimiter", "option_csv.formulas"]
    values = [option["value"] for option in page.all("option")][len(Offering.formats) :]
    # "raw" is for exports that declare `for_machines`.
    assert values == ["exchange", "spreadsheet", "", ",", ";", "\t", "escape", "reject"]
    chosen = [option["value"] for option in page.all("option") if "selected" in option]
    assert chosen == ["exchange", "", "escape"]


@pytest.mark.usefixtures("offering")
def test_a_posted_form_chooses_options_of_the_format_of_its_button(browser: Client):
    fields = {"option_csv.profile": "spreadsheet", "option_csv.delimiter": ""}
    assert post(browser, HTML, **fields).status_code == 303
    assert FileRequest.objects.get().options["profile"] == "spreadsheet"
    assert post(browser, **fields, format="xlsx").status_code == 202
    assert post(browser, **fields | {"option_csv.delimiter": "|"}).json()["error"]["code"] == "bad_option"


@pytest.mark.usefixtures("offering")
def test_a_form_that_is_shown_again_keeps_the_chosen_options(browser: Client):
    page = HtmlPage(post(browser, HTML, month="13", **{"option_csv.profile": "spreadsheet"}).content.decode())
    assert "spreadsheet" in [option["value"] for option in page.all("option") if "selected" in option]


def test_the_form_begins_with_the_defaults_of_the_export(browser: Client, office: None):
    declared = {"default_options": {"csv": {"profile": "spreadsheet", "delimiter": ";"}}}
    with registered(type("Default", (Offering,), declared)):
        page = HtmlPage(browser.get(FORM).content.decode())
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["spreadsheet", ";", "escape"]
