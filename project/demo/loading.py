"""Load the tables of the source into the database, in one transaction."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path

from django.db import connection, models, transaction

from project.demo.models import Airline, Airport, Flight, Plane, Weather
from project.demo.source import lines

FLIGHTS = 336_776
BATCH = 5000

Reader = Callable[[str], object]
Report = Callable[[int], object]


class FlightsMissing(Exception):
    """The archive contains another number of flights than expected."""


@dataclass(frozen=True)
class Table:
    """A CSV file of the source: the model it fills, and for each field its column and the function that reads it."""

    name: str
    model: type[models.Model]
    fields: dict[str, tuple[str, Reader]]

    def load(self, archive: Path, *, report: Report | None = None) -> int:
        """Insert every line of the file and return their number. `report` is called with the size of each batch."""
        done, remaining = 0, self.values(archive)
        while batch := list(islice(remaining, BATCH)):
            insert(self.model, self.fields, batch)
            done += len(batch)
            if report:
                report(len(batch))
        return done

    def values(self, archive: Path) -> Iterator[list[object]]:
        table = lines(archive, self.name)
        header = next(table)
        readers = [(header.index(column), read) for column, read in self.fields.values()]
        return ([read(line[index]) for index, read in readers] for line in table)


def load(archive: Path, *, expected: int = FLIGHTS, report: Report | None = None) -> int:
    """Replace all five tables by those of `archive` and return the number of flights.

    `report` is called with the number of flights in each batch. Raises FlightsMissing, and changes nothing, if there
    are not `expected` flights.
    """
    with transaction.atomic():
        for model in (Flight, Weather, Plane, Airport, Airline):
            model.objects.all().delete()
        for table in (AIRLINES, AIRPORTS, PLANES, WEATHER):
            table.load(archive)
        count = flights_table().load(archive, report=report)
        if count != expected:
            raise FlightsMissing(f"{archive} contains {count:,} flights; {expected:,} were expected.")
    return count


def insert(model: type[models.Model], names: Iterable[str], batch: list[list[object]]) -> None:
    # Not bulk_create, which takes five times as long for values that already have the database's types.
    quote = connection.ops.quote_name
    columns = [quote(model._meta.get_field(name).column) for name in names]
    into = f"{quote(model._meta.db_table)} ({', '.join(columns)})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {into} FROM STDIN") as copy:
                for values in batch:
                    copy.write_row(values)
        else:
            cursor.executemany(f"INSERT INTO {into} VALUES ({', '.join(['%s'] * len(columns))})", batch)


def text(value: str) -> str:
    return "" if value == "NA" else value


def whole(value: str) -> int | None:
    return int(value) if text(value) else None


def decimal(value: str) -> float | None:
    return float(value) if text(value) else None


# The 336,776 flights share 6,936 hours.
@lru_cache(maxsize=16_384)
def instant(value: str) -> object:
    """Return an hour of the source, in UTC such as 2013-01-01T10:00:00Z, as the database's parameter."""
    return connection.ops.adapt_datetimefield_value(datetime.fromisoformat(value))


def one_of(known: Iterable[str]) -> Reader:
    codes = set(known)
    return lambda code: code if code in codes else None


AIRLINES = Table("airlines", Airline, {"carrier": ("carrier", str), "name": ("name", str)})
AIRPORTS = Table(
    "airports",
    Airport,
    {
        "faa": ("faa", str),
        "name": ("name", str),
        "latitude": ("lat", float),
        "longitude": ("lon", float),
        "altitude": ("alt", int),
        "utc_offset": ("tz", int),
        "daylight_saving": ("dst", str),
        "time_zone": ("tzone", text),
    },
)
PLANES = Table(
    "planes",
    Plane,
    {
        "tailnum": ("tailnum", str),
        "year": ("year", whole),
        "kind": ("type", str),
        "manufacturer": ("manufacturer", str),
        "model": ("model", str),
        "engines": ("engines", int),
        "seats": ("seats", int),
        "speed": ("speed", whole),
        "engine": ("engine", str),
    },
)
WEATHER = Table(
    "weather",
    Weather,
    {
        "origin": ("origin", str),
        **{name: (name, int) for name in ("year", "month", "day", "hour")},
        **{name: (name, decimal) for name in ("temp", "dewp", "humid", "wind_speed", "wind_gust", "pressure")},
        "wind_dir": ("wind_dir", whole),
        "precip": ("precip", float),
        "visib": ("visib", float),
        "time_hour": ("time_hour", instant),
    },
)


def flights_table() -> Table:
    """Return the table of flights, which refers to the planes and airports in the database."""
    published = ("year", "month", "day", "sched_dep_time", "sched_arr_time", "distance", "hour", "minute")
    missing_when_cancelled = ("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time")
    return Table(
        "flights",
        Flight,
        {
            **{name: (name, int) for name in published},
            **{name: (name, whole) for name in missing_when_cancelled},
            "carrier": ("carrier", str),
            "number": ("flight", int),
            "tailnum": ("tailnum", text),
            "plane": ("tailnum", one_of(Plane.objects.values_list("pk", flat=True))),
            "origin": ("origin", str),
            "dest": ("dest", str),
            "destination": ("dest", one_of(Airport.objects.values_list("pk", flat=True))),
            "time_hour": ("time_hour", instant),
        },
    )
