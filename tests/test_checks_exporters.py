"""System checks of exporters: what `manage.py check` finds in code of a project, without a query."""

from collections.abc import Mapping
from typing import Any

import pytest
from django import forms
from django.db.models import F

from exports.exporters import Column, QuerySetExport
from exports.models.request import AnyUser
from tests.shop.exports import CustomerExport, OrderExport, registered
from tests.shop.models import Customer, Label, Order
from tests.test_checks import basic_checks, ids


def broken(self: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> Any:
    return Order.objects.filter(colour="red")


def asking(self: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> Any:
    return Order.objects.filter(number=Customer.objects.get(name="ada").city)


class RequiredFilter(forms.Form):
    since = forms.DateField()
    at_least = forms.IntegerField()
    status = forms.ChoiceField(choices=[("", "-"), ("open", "Open")])
    customer = forms.ModelChoiceField(Customer.objects.all())
    kinds = forms.MultipleChoiceField(choices=[("a", "A")])
    word = forms.CharField()


def filtered(self: QuerySetExport, user: AnyUser, criteria: Mapping[str, Any]) -> Any:
    return Order.objects.filter(
        ordered_on__gte=criteria["since"],
        quantity__gte=criteria["at_least"] + 1,
        status=criteria["status"].upper(),
        customer=criteria["customer"],
        note__in=criteria["kinds"],
        number__contains=criteria["word"].strip(),
    )


@pytest.mark.parametrize(
    ("declared", "id", "text"),
    [
        ({"columns": [Column("nummer")]}, "E019", "there is no 'nummer' in Order. Did you mean 'number'?"),
        ({"columns": [Column("customer__town")]}, "E019", "there is no 'town' in Customer"),
        ({"columns": [Column("x", source=F("price") * F("amount"))]}, "E019", "'x'"),
        ({"columns": [Column("nummer")], "form_class": RequiredFilter, "get_queryset": filtered}, "E019", "'nummer'"),
        ({"columns": [Column("target")], "get_queryset": lambda *args: Label.objects.all()}, "E019", "Use a callable"),
        (
            {"columns": ["number", "number"], "formats": ("jsonl", "csv")},
            "E019",
            "2 columns have the name 'number', which JSON Lines cannot hold.",
        ),
        ({"columns": []}, "E018", "Wrong has no columns"),
        (
            {"get_queryset": QuerySetExport.get_queryset},
            "E018",
            "Wrong must define get_queryset, get_rows or get_arrow.",
        ),
        ({"get_queryset": broken}, "E018", "FieldError: Cannot resolve keyword 'colour'"),
        ({"get_queryset": lambda *args: [{"number": 1}]}, "E018", "returned a list, which is no queryset"),
        ({"get_rows": lambda *args: 1 / 0, "columns": [Column("x", source=F("x"))]}, "E019", "rows come from Python"),
        ({"get_columns": lambda self, user, criteria: undefined}, "E018", "name 'undefined' is not defined"),  # noqa: F821
        ({"get_queryset": asking}, "I002", "Wrong are not checked: WouldAskDatabase: It asks the database"),
        ({"columns": None}, "E018", "The columns are None, and not a list"),
        ({"columns": ("number")}, "E018", "The columns are 'number', and not a list"),
        ({"get_columns": lambda *args: [("number", "No.")]}, "E018", "('number', 'No.') is not a column"),
        ({"queue_name": "smal"}, "E028", "Wrong.queue_name is 'smal'."),
        ({"form_options": {"csv": "profile"}}, "E017", "is text, not a list"),
        ({"formats": 7}, "E018", "Wrong cannot be used: TypeError"),
        ({"formats": "csv"}, "E010", "Wrong.formats is 'csv'."),
        ({"columns": [Column("number", style={"font_colour": "red"})]}, "E020", "have no 'font_colour'"),
        ({"columns": [Column("number", header_style={"bg_color": "rot"})]}, "E020", "Invalid color value: rot"),
        ({"file_type": "two words"}, "E021", "is registered for the file type 'two words'"),
        ({"file_type": "x" * 101}, "E021", "xxx"),
        ({"file_type": ""}, "E021", "''"),
    ],
)
def test_what_is_wrong_with_an_exporter_is_found_without_a_query(declared: Mapping[str, Any], id: str, text: str):
    with registered(type("Wrong", (OrderExport,), {"file_type": "wrong", **declared})):
        messages = basic_checks()
    assert id in ids(messages)
    assert set(ids(messages)) <= {id, "I002"}
    assert all("Wrong" in each.msg and each.hint for each in messages)
    assert any(text in each.msg for each in messages)


def test_annotations_sheets_and_required_criteria_pass():
    columns = [Column("total"), Column("customer__name"), Column("x", source=F("price") * F("total"))]
    declared = {
        "columns": columns,
        "form_class": RequiredFilter,
        "get_queryset": lambda *args: filtered(*args).annotate(total=F("quantity")),
        "file_type": "right",
    }
    with registered(type("Right", (OrderExport,), declared)):
        assert basic_checks() == []


def test_two_exporters_of_one_file_type_are_an_error_unless_one_derives_from_the_other():
    with registered(type("Better", (OrderExport,), {})):
        assert basic_checks() == []
    with registered(type("Other", (CustomerExport,), {"file_type": OrderExport.file_type})):
        [message] = basic_checks()
    assert ids([message]) == ["E022"]
    assert "tests.test_checks_exporters.Other has replaced tests.shop.exports.OrderExport" in message.msg
    assert basic_checks() == []
