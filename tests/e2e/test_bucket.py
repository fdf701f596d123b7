"""The whole site with its files in a bucket: browsers fetch them from another host, and no policy is in the way."""

import csv
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Download

from project.launcher import Demo
from tests.bucket.server import Moto
from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack, prepared_folder
from tests.e2e.visits import FINISH, Visit
from tests.servers import Smtp

APRIL = 28_330


@pytest.fixture(scope="module", params=["bucket"])
def stack(s3_server: Moto, tmp_path_factory: Any, smtp_server: Smtp) -> Iterator[Stack]:
    """The site with all flights loaded, on SQLite, told by its environment to keep its files in a bucket."""
    s3_server.start()
    s3_server.reset()
    given = Stack(prepared_folder(tmp_path_factory.mktemp("bucket") / "var"), smtp_server)
    given.demo.close()
    given.demo = Demo(given.demo.environment | told(s3_server))
    with given:
        yield given


def told(server: Moto) -> dict[str, str]:
    place = {
        "EXPORTS_S3_BUCKET": server.BUCKET,
        "EXPORTS_S3_ENDPOINT_URL": server.url,
        "EXPORTS_S3_REGION": server.REGION,
    }
    return place | {"AWS_ACCESS_KEY_ID": server.KEY, "AWS_SECRET_ACCESS_KEY": server.SECRET}


def rows_of(download: Download) -> int:
    with download.path().open(encoding="utf-8-sig", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def test_the_file_comes_by_itself_and_by_its_link_from_the_bucket(s3_server: Moto, visit: Visit):
    with visit.page.expect_download(timeout=FINISH) as by_itself:
        export_id = visit.export(month_from="4", month_to="4")
    visit.wait_for_status(export_id, "ready")
    with visit.page.expect_download() as by_link:
        visit.part(export_id, "download").click()
    state = visit.state(export_id)
    for download in (by_itself.value, by_link.value):
        assert download.url.startswith(f"{s3_server.url}/{s3_server.BUCKET}/generated/{export_id}/")
        assert download.suggested_filename == state["file"]["name"]
        assert rows_of(download) == state["receipt"]["rows"] == APRIL


def test_it_comes_without_javascript(s3_server: Moto, stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="4", month_to="4")
    page = open_visit("ada", java_script_enabled=False).go(state["urls"]["page"]).page
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.url.startswith(s3_server.url)
    assert rows_of(download.value) == APRIL


def test_a_stranger_is_not_led_to_the_bucket(stack: Stack):
    state = stack.client("ada").make(month_from="4", month_to="4")
    assert stack.client("ada").get(state["urls"]["download"], follow_redirects=True).status_code == 200
    assert stack.client("grace").get(state["urls"]["download"]).status_code == 404
    assert stack.client("grace").get(state["urls"]["ticket"]).status_code == 404
