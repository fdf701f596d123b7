"""manage.py exports explain: the strategy of an export, for people."""

from collections.abc import Iterator
from io import StringIO

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from exports.exporters import Column, QuerySetExport, registry
from tests.shop.models import Order

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]


class OneMonth(forms.Form):
    month = forms.IntegerField()


class OfTheMonth(QuerySetExport):
    file_type = "of-the-month"
    title = "Orders of the month"
    form_class = OneMonth
    columns = (Column("number"), Column("label", source=lambda order: order.number))

    def get_queryset(self, user, criteria):
        return Order.objects.filter(placed_at__month=criteria["month"])


class Mine(QuerySetExport):
    file_type = "mine"
    columns = (Column("number"), Column("details__size"))

    def get_queryset(self, user, criteria):
        return Order.objects.filter(quantity=int(user.pk))


class Wrong(Mine):
    file_type = "wrong"
    columns = (Column("nmuber"),)

    def get_queryset(self, user, criteria):
        return Order.objects.all()


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for export in (OfTheMonth, Mine, Wrong):
        registry.register(export)
    yield
    for export in (OfTheMonth, Mine, Wrong):
        del registry.handlers[export.file_type]


def explain(*arguments: str, **options: object) -> str:
    out = StringIO()
    call_command("exports", "explain", *arguments, stdout=out, **options)
    return out.getvalue()


def test_it_says_the_road_the_reasons_and_the_forms():
    told = explain("of-the-month", "--criteria", "month=3")
    assert told.splitlines() == [
        "Orders of the month: instances (a model instance for each row), database 'default'.",
        "  Column 'label' is made by a callable, which takes a model instance.",
        "    number  as Python values",
        "    label   as Python values",
    ]


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="needs PostgreSQL")
def test_it_says_who_writes_the_lines_of_csv(settings, monkeypatch):
    User.objects.create_user("ann")
    settings.TIME_ZONE = "UTC"
    assert (
        "  The lines of CSV are written by Python.\n"
        "    Column 'details__size': Python writes values of its type differently.\n"
    ) in explain("mine", "--user", "ann")
    monkeypatch.setattr(Mine, "columns", (Column("number"), Column("quantity"), Column("placed_at")))
    assert "The lines of CSV are written by PostgreSQL." in explain("mine", "--user", "ann")
    settings.TIME_ZONE = "Europe/Berlin"
    assert "Column 'placed_at': its times are shown in Europe/Berlin." in explain("mine", "--user", "ann")


def test_it_says_the_sql_on_demand():
    User.objects.create_user("ann")
    assert "SELECT" not in explain("mine", "--user", "ann", "--database", "default")
    told = explain("mine", "--user", "ann", verbosity=2)
    assert '"shop_order"."number"' in told
    assert told.startswith("mine: copy" if connection.vendor == "postgresql" else "mine: cursor")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "No exporter is registered for 'nothing'"),
        (["of-the-month"], r"month: This field is required\. Use --criteria 'month=\.\.\.'"),
        (["of-the-month", "--criteria", "month"], "'month' is not a criterion. Use --criteria 'month=3'"),
        (["mine"], r"'mine' has no rows for an anonymous user \(.*\)\. Name a user: --user NAME\."),
        (["mine", "--user", "bob"], "There is no user 'bob'"),
        (["wrong"], "there is no 'nmuber' in Order. Did you mean 'number'"),
        (["wrong", "--database", "replica"], "There is no database 'replica'. Databases: default"),
    ],
)
def test_errors_say_what_to_do(arguments, message):
    with pytest.raises(CommandError, match=message):
        explain(*arguments)
