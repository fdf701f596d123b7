"""Now(): the time of the database's clock equals the times that Django stores, whatever the time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from exports.models import FileRequest
from exports.models.clock import Now
from exports.state import serialize
from tests.shop.exports import OrderExport
from tests.shop.requests import queued

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


@pytest.fixture(params=["naive", "zone of the database", "UTC"])
def stored_times(request: pytest.FixtureRequest, settings: Any) -> Iterator[None]:
    """Store times as a site does that sets USE_TZ = False, or TIME_ZONE in DATABASES; or that sets neither."""
    zone = "America/New_York" if request.param == "zone of the database" else None
    connection.settings_dict["TIME_ZONE"] = zone
    # Django lets the connections read their zone again.
    settings.TIME_ZONE, settings.USE_TZ = "Asia/Kolkata", request.param != "naive"
    yield
    connection.settings_dict["TIME_ZONE"] = None


@pytest.mark.usefixtures("stored_times")
def test_the_clock_of_the_database_shows_the_time_that_django_stores() -> None:
    export = queued(requested_at=timezone.now())
    FileRequest.objects.filter(pk=export.pk).update(expires_at=Now() + timedelta(hours=1))
    export.refresh_from_db()
    assert abs(export.expires_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)
    assert FileRequest.objects.filter(requested_at__lte=Now(), expires_at__gt=Now()).exists()


@pytest.mark.usefixtures("stored_times")
def test_states_are_in_utc_and_filenames_have_the_local_date() -> None:
    export = queued(requested_at=timezone.now())
    export.refresh_from_db()
    asked = datetime.fromisoformat(serialize(export)["requested_at"] or "")
    assert asked.utcoffset() == timedelta()
    assert datetime.now(UTC) - asked < timedelta(minutes=1)
    today = datetime.now(timezone.get_default_timezone()).date()
    assert OrderExport().get_filename(export) in {f"orders-{today - timedelta(days=back)}.csv" for back in (0, 1)}
