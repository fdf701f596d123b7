"""The table of flights on the home page."""

from typing import Any

import django_tables2 as tables
from django.db.models import F, QuerySet
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from project.demo.models import Flight

PAGE_ROWS = 20


class SortedColumn(tables.Column):
    """Sort by these fields, NULL last, then by primary key, so that no page repeats or skips a row."""

    def __init__(
        self, header: str, *sort_by: str, wide_only: bool = False, number: bool = False, **options: Any
    ) -> None:
        names = " ".join(name for name, is_set in (("wide-only", wide_only), ("number", number)) if is_set)
        super().__init__(
            verbose_name=header, attrs={"th": {"class": names}, "td": {"class": names}} if names else {}, **options
        )
        self.sort_by = [F(field) for field in sort_by]

    def order(self, queryset: QuerySet[Flight], is_descending: bool) -> tuple[QuerySet[Flight], bool]:
        ways = [by.desc(nulls_last=True) if is_descending else by.asc(nulls_last=True) for by in self.sort_by]
        return queryset.order_by(*ways, "pk"), True


class FlightTable(tables.Table):
    scheduled_at = SortedColumn(_("Scheduled"), "time_hour", "minute")
    number = SortedColumn(_("Flight"), "carrier_id", "number")
    carrier = SortedColumn(_("Airline"), "carrier__name", wide_only=True)
    origin_id = SortedColumn(_("From"), "origin_id")
    dest = SortedColumn(_("To"), "dest")
    dep_delay = SortedColumn(_("Departure delay"), "dep_delay", number=True)
    arr_delay = SortedColumn(_("Arrival delay"), "arr_delay", number=True)
    distance = SortedColumn(_("Miles"), "distance", number=True, wide_only=True)
    tailnum = SortedColumn(_("Tail number"), "tailnum", wide_only=True)

    class Meta:
        model = Flight
        fields = ()
        template_name = "demo/table.html"
        empty_text = _("No flight matches this filter.")

    def render_scheduled_at(self, value: Any) -> str:
        return date_format(value, "j M, H:i")

    def render_number(self, record: Flight) -> str:
        return f"{record.carrier_id} {record.number}"


def table_of(flights: QuerySet[Flight], *, sort: str, page: str | None) -> FlightTable:
    """Return one page of these flights, with the default order or the nearest page where none such exists."""
    table = FlightTable(flights.select_related("carrier"), order_by=sort)
    table.paginate(per_page=PAGE_ROWS)
    table.page = table.paginator.get_page(page)
    return table
