"""The table of flights on the demo's page."""

from typing import Any

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from project.demo.models import Flight

PAGE_ROWS = 20


class SortedColumn(tables.Column):
    """Sorts what is missing to the end, and equal values by primary key, so that pages never repeat or skip a row."""

    def __init__(self, *, wide_only: bool = False, number: bool = False, **options: Any) -> None:
        names = " ".join(name for name, is_set in (("wide-only", wide_only), ("number", number)) if is_set)
        super().__init__(attrs={"th": {"class": names}, "td": {"class": names}} if names else {}, **options)

    def order(self, queryset: QuerySet[Flight], is_descending: bool) -> tuple[QuerySet[Flight], bool]:
        fields = [F(str(accessor.bare).replace(".", "__")) for accessor in self.order_by or (self.accessor,)]
        ways = [field.desc(nulls_last=True) if is_descending else field.asc(nulls_last=True) for field in fields]
        return queryset.order_by(*ways, "pk"), True


class FlightTable(tables.Table):
    scheduled_at = SortedColumn(verbose_name=_("Scheduled"), order_by=("time_hour", "minute"))
    number = SortedColumn(verbose_name=_("Flight"), order_by=("carrier_id", "number"))
    carrier = SortedColumn(verbose_name=_("Airline"), accessor="carrier__name", wide_only=True)
    origin_id = SortedColumn(verbose_name=_("From"))
    dest = SortedColumn(verbose_name=_("To"))
    dep_delay = SortedColumn(verbose_name=_("Late at departure (min)"), number=True)
    arr_delay = SortedColumn(verbose_name=_("Late at arrival (min)"), number=True)
    distance = SortedColumn(verbose_name=_("Miles"), number=True, wide_only=True)
    tailnum = SortedColumn(verbose_name=_("Tail number"), wide_only=True)

    class Meta:
        model = Flight
        fields = ()
        template_name = "demo/table.html"
        empty_text = _("No flight fits this filter.")

    def render_scheduled_at(self, value: Any) -> str:
        return date_format(value, "j M Y, H:i")

    def render_number(self, record: Flight) -> str:
        return f"{record.carrier_id} {record.number}"


def table_of(flights: QuerySet[Flight], *, sort: str, page: str | None) -> FlightTable:
    """One page of these flights in that order. No such order: the default one; no such page: the nearest one."""
    table = FlightTable(flights.select_related("carrier"), order_by=sort)
    table.paginate(per_page=PAGE_ROWS)
    table.page = table.paginator.get_page(page)
    return table
