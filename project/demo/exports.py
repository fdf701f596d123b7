"""The exports of the demo."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db.models import F, QuerySet
from django.utils.translation import gettext_lazy as _

from exports.exporters import Column, QuerySetExport, Sheet, SheetDesign
from project.demo.forms import FlightFilter, WeatherFilter
from project.demo.models import Airline, Airport, Flight, Plane, Weather

# Parquet is offered if pyarrow is installed.
FORMATS: Final = ("xlsx", "csv", "tsv", "jsonl", "parquet")
TABLE_STYLE: Final = "Table Style Light 9"
CONDITIONAL_FORMATS: Final = {
    "flights": {"type": "data_bar", "bar_color": "#9DBDF2"},
    "delay": {"type": "3_color_scale", "min_color": "#A9DFBF", "mid_color": "#FFFFFF", "max_color": "#F2B8B5"},
}


class DemoExport(QuerySetExport):
    """An export for every user of the demo."""

    def has_permission(self, user: Any, criteria: Mapping[str, Any]) -> bool:
        return user.is_authenticated


class FlightExport(DemoExport):
    """Every column of the source, the names behind its codes, and the minutes gained in the air."""

    file_type = "flights"
    title = _("Flights")
    form_class = FlightFilter
    formats = FORMATS
    feeds = True
    columns = (
        Column("year", _("Year"), width=6),
        Column("month", _("Month"), width=7),
        Column("day", _("Day"), width=5),
        Column("dep_time", _("Departure (hhmm)"), width=10),
        Column("sched_dep_time", _("Scheduled departure (hhmm)"), width=10),
        Column("dep_delay", _("Departure delay (min)"), width=10),
        Column("arr_time", _("Arrival (hhmm)"), width=10),
        Column("sched_arr_time", _("Scheduled arrival (hhmm)"), width=10),
        Column("arr_delay", _("Arrival delay (min)"), width=10),
        Column("gain", _("Gain (min)"), width=10, source=F("dep_delay") - F("arr_delay")),
        Column("carrier_id", _("Carrier"), width=8),
        Column("carrier__name", _("Airline"), width=26),
        Column("number", _("Flight"), width=8),
        Column("tailnum", _("Tail number"), width=11),
        Column("origin_id", _("From"), width=6),
        Column("dest", _("To"), width=6),
        Column("destination__name", _("Destination"), width=30),
        Column("air_time", _("Time in the air (min)"), width=10),
        Column("distance", _("Distance (mi)"), width=10),
        Column("hour", _("Scheduled hour"), width=10),
        Column("minute", _("Scheduled minute"), width=10),
        Column("time_hour", _("Scheduled hour, as an instant"), width=18),
    )

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Flight]:
        return Flight.objects.matching(criteria)


class WeatherExport(DemoExport):
    file_type = "weather"
    title = _("Weather")
    form_class = WeatherFilter
    formats = FORMATS
    form_options = {"csv": ("profile",)}  # noqa: RUF012
    columns = (
        Column("time_hour", _("Hour"), width=18),
        Column("origin_id", _("Airport"), width=8),
        Column("temp", _("Temperature (°F)"), width=11),
        Column("dewp", _("Dew point (°F)"), width=11),
        Column("humid", _("Humidity (%)"), width=11),
        Column("wind_dir", _("Wind direction (°)"), width=11),
        Column("wind_speed", _("Wind speed (mph)"), width=11),
        Column("wind_gust", _("Gust (mph)"), width=11),
        Column("precip", _("Precipitation (in)"), width=11),
        Column("pressure", _("Pressure (mbar)"), width=11),
        Column("visib", _("Visibility (mi)"), width=11),
    )

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Weather]:
        weather = Weather.objects.all()
        return weather.filter(origin=criteria["origin"]) if criteria.get("origin") else weather


class ReferenceExport(DemoExport):
    """A workbook of four sheets: figures for each airline, and the names behind the codes of the flights."""

    file_type = "reference"
    title = _("A year in reference")
    formats = ("xlsx",)
    columns_of_summary = (
        Column("carrier__name", _("Airline"), width=28, style={"bold": True}),
        Column("flights", _("Flights"), width=11, format="#,##0"),
        Column("cancelled", _("Not departed"), width=14, format="#,##0"),
        Column("delay", _("Mean arrival delay (min)"), width=26, format="0.0"),
        Column("miles", _("Miles"), width=14, format="#,##0"),
    )
    columns_of_airports = (
        Column("faa", width=8),
        Column("name", width=34),
        Column("latitude", width=12, format="0.0000"),
        Column("longitude", width=12, format="0.0000"),
        Column("altitude", width=14),
        Column("time_zone", width=22),
    )
    columns_of_planes = (
        Column("tailnum", width=13),
        Column("year", width=12),
        Column("manufacturer", width=26),
        Column("model", width=18),
        Column("kind", width=26),
        Column("engines", width=11),
        Column("seats", width=9),
        Column("engine", width=16),
    )

    def get_sheets(self, user: Any, criteria: Mapping[str, Any]) -> Sequence[Sheet]:
        airlines = (Column("carrier", width=8), Column("name", width=28))
        return [
            Sheet(str(_("Airlines in numbers")), Flight.objects.by_airline(), self.columns_of_summary, key="numbers"),
            Sheet(str(_("Airlines")), Airline.objects.all(), airlines, key="airlines"),
            Sheet(str(_("Airports")), Airport.objects.all(), self.columns_of_airports, key="airports"),
            Sheet(str(_("Planes")), Plane.objects.all(), self.columns_of_planes, key="planes"),
        ]

    def design(self, sheet: SheetDesign) -> None:
        """Make each sheet an Excel table; in the summary, bars show the flights and colours the delays."""
        headers = [{"header": column.label} for column in sheet.columns]
        table = {"style": TABLE_STYLE, "columns": headers}
        sheet.worksheet.add_table(0, 0, sheet.rows, len(headers) - 1, table)
        for number, column in enumerate(sheet.columns):
            if column.name in CONDITIONAL_FORMATS:
                sheet.worksheet.conditional_format(1, number, sheet.rows, number, CONDITIONAL_FORMATS[column.name])
