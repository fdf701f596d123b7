"""Which strategy reads a queryset and why: `explain`, and manage.py exports explain."""

from collections.abc import Iterator
from contextlib import ExitStack
from io import StringIO

import pytest
from django import forms
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from exports.exporters import Column, QuerySetExport
from exports.tabular.readers.explain import explain
from tests.shop.databases import needs_postgres
from tests.shop.every_field import PLAIN_FIELDS
from tests.shop.exports import registered
from tests.shop.models import Customer, EveryField, Order

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

CALLABLE = Column("label", source=lambda order: order.number)


def test_plain_columns_take_the_fastest_strategy():
    explained = explain(EveryField.objects.all(), list(map(Column, PLAIN_FIELDS)))
    assert explained.strategy == ("copy" if connection.vendor == "postgresql" else "cursor")
    assert explained.reasons == []


def test_the_column_that_prevents_a_faster_strategy_is_named():
    explained = explain(EveryField.objects.all(), list(map(Column, [*PLAIN_FIELDS, "shouted"])))
    assert explained.strategy == "cursor"
    assert explained.reasons == [
        "Column 'shouted': its field ShoutedField has from_db_value, so each value passes through Python."
    ]
    assert dict(explained.columns)["shouted"] == "as Python values"
    assert "shop_everyfield" in explained.sql


@needs_postgres
def test_a_type_that_psycopg_converts_is_named():
    explained = explain(EveryField.objects.all(), [Column("took"), Column("name")])
    assert explained.reasons == [
        "Column 'took': psycopg makes each value of PostgreSQL's type interval, so each value passes through Python."
    ]


def test_callables_and_unions_need_instances():
    explained = explain(Order.objects.all(), [CALLABLE])
    assert explained.reasons == ["Column 'label' is made by a callable, which takes a model instance."]
    explained = explain(Customer.objects.all().union(Customer.objects.all()), [Column("city")])
    assert (explained.strategy, explained.columns) == ("instances", [("city", "as Python values")])


def test_instances_select_no_field_twice():
    declared = [Column("number"), Column("customer_id"), Column("customer__name"), CALLABLE]
    for queryset in (Order.objects.all(), Order.objects.defer("number")):
        assert explain(queryset, declared).sql.count('"number"') == 1


def test_a_queryset_without_rows_is_explained():
    explained = explain(Order.objects.none(), [Column("number")])
    assert (explained.reasons, explained.sql) == (["No row can match."], "")


# The command


class MonthForm(forms.Form):
    month = forms.IntegerField()


class MonthExport(QuerySetExport):
    file_type = "month"
    title = "Orders of the month"
    form_class = MonthForm
    columns = (Column("number"), CALLABLE)

    def get_queryset(self, user, criteria):
        return Order.objects.filter(placed_at__month=criteria["month"])


class OwnExport(QuerySetExport):
    file_type = "own"
    columns = (Column("number"), Column("details__size"))

    def get_queryset(self, user, criteria):
        return Order.objects.filter(quantity=int(user.pk))


class MisspeltExport(QuerySetExport):
    file_type = "misspelt"
    columns = (Column("nmuber"),)

    def get_queryset(self, user, criteria):
        return Order.objects.all()


@pytest.fixture
def ann() -> Iterator[str]:
    with ExitStack() as exports:
        for export in (MonthExport, OwnExport, MisspeltExport):
            exports.enter_context(registered(export))
        yield User.objects.create_user("ann").username


def output(*arguments: str, **options: object) -> str:
    out = StringIO()
    call_command("exports", "explain", *arguments, stdout=out, **options)
    return out.getvalue()


def test_the_command_prints_the_strategy_the_reasons_and_the_columns(ann):
    assert output("month", "--criteria", "month=3").splitlines() == [
        "Orders of the month: instances (a model instance for each row), database 'default'.",
        "  Column 'label' is made by a callable, which takes a model instance.",
        "    number  as Python values",
        "    label   as Python values",
    ]


@needs_postgres
def test_the_command_says_whether_postgresql_writes_the_lines_of_csv(ann, settings, monkeypatch):
    settings.TIME_ZONE = "UTC"
    assert (
        "  The lines of CSV are written by Python.\n"
        "    Column 'details__size': Python writes values of its type differently.\n"
    ) in output("own", "--user", ann)
    monkeypatch.setattr(OwnExport, "columns", (Column("number"), Column("quantity"), Column("placed_at")))
    assert "The lines of CSV are written by PostgreSQL." in output("own", "--user", ann)
    monkeypatch.setattr(OwnExport, "default_options", {"csv": {"profile": "spreadsheet"}})
    assert "The lines of CSV" not in output("own", "--user", ann)
    monkeypatch.setattr(OwnExport, "default_options", {})
    settings.TIME_ZONE = "Europe/Berlin"
    assert "Column 'placed_at': its times are shown in Europe/Berlin." in output("own", "--user", ann)


def test_the_command_prints_the_sql_at_verbosity_2(ann):
    assert "SELECT" not in output("own", "--user", ann, "--database", "default")
    told = output("own", "--user", ann, verbosity=2)
    assert '"shop_order"."number"' in told
    assert told.startswith("own: copy" if connection.vendor == "postgresql" else "own: cursor")


@pytest.mark.parametrize(("arguments", "message"), [
    (["nothing"], "No exporter is registered for 'nothing'"),
    (["month"], r"month: This field is required\. Use --criteria 'month=\.\.\.'"),
    (["month", "--criteria", "month"], "'month' is not a criterion. Use --criteria 'month=3'"),
    (["own"], r"'own' has no rows for an anonymous user \(.*\)\. Name a user: --user NAME\."),
    (["own", "--user", "bob"], "There is no user 'bob'"),
    (["misspelt"], "there is no 'nmuber' in Order. Did you mean 'number'"),
    (["misspelt", "--database", "replica"], "There is no database 'replica'. Databases: default"),
])  # fmt: skip
def test_errors_of_the_command_say_what_to_do(ann, arguments, message):
    with pytest.raises(CommandError, match=message):
        output(*arguments)


def test_an_error_of_the_export_itself_is_raised(ann, monkeypatch):
    monkeypatch.setattr(OwnExport, "get_queryset", lambda self, user, criteria: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        output("own", "--user", ann)
