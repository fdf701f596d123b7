"""What this project exports: declared here, made by the workers of the `exports` app."""

from collections.abc import Mapping
from typing import Any

from django.db.models import F, QuerySet
from django.utils.translation import gettext_lazy as _

from exports.patterns import Column, QuerySetExport
from project.demo.forms import FlightFilter, WeatherFilter
from project.demo.models import Flight, Weather


class FlightExport(QuerySetExport):
    """Every column of the source, with the names behind its codes and the minutes a flight made good in the air."""

    file_type = "flights"
    title = _("Flights")
    form_class = FlightFilter
    formats = ("xlsx", "csv")
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


class WeatherExport(QuerySetExport):
    file_type = "weather"
    title = _("Weather")
    form_class = WeatherFilter
    formats = ("xlsx", "csv")
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
