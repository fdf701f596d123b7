"""The site with its files in a bucket: browsers download them from another host."""

import csv
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Download

from project.launcher import Demo
from tests.bucket.server import Moto
from tests.e2e.conftest import OpenVisit
from tests.e2e.stack import Stack
from tests.e2e.visits import FINISH, Visit
from tests.servers import Smtp

APRIL_FLIGHTS = 28_330


@pytest.fixture(scope="module", params=["bucket"])
def stack(s3_server: Moto, tmp_path_factory: Any, loaded: Path, smtp_server: Smtp) -> Iterator[Stack]:
    """The site with all flights loaded, on SQLite, with its files in a bucket."""
    s3_server.start()
    s3_server.reset()
    given = Stack(shutil.copytree(loaded, tmp_path_factory.mktemp("bucket") / "var"), smtp_server)
    given.demo.close()
    bucket = {
        "EXPORTS_S3_BUCKET": s3_server.BUCKET,
        "EXPORTS_S3_ENDPOINT_URL": s3_server.url,
        "EXPORTS_S3_REGION": s3_server.REGION,
        "AWS_ACCESS_KEY_ID": s3_server.KEY,
        "AWS_SECRET_ACCESS_KEY": s3_server.SECRET,
    }
    given.demo = Demo(given.demo.environment | bucket)
    with given:
        yield given


def rows_of(download: Download) -> int:
    with download.path().open(encoding="utf-8-sig", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1


def test_automatic_download_and_link_lead_to_the_bucket(s3_server: Moto, visit: Visit):
    with visit.page.expect_download(timeout=FINISH) as automatic:
        export_id = visit.export(month_from="4", month_to="4")
    visit.wait_for_status(export_id, "ready")
    with visit.page.expect_download() as by_link:
        visit.part(export_id, "download").click()
    state = visit.state(export_id)
    for download in (automatic.value, by_link.value):
        assert download.url.startswith(f"{s3_server.url}/{s3_server.BUCKET}/generated/{export_id}/")
        assert download.suggested_filename == state["file"]["name"]
        assert rows_of(download) == state["receipt"]["rows"] == APRIL_FLIGHTS


def test_the_file_downloads_without_javascript(s3_server: Moto, stack: Stack, open_visit: OpenVisit):
    state = stack.client("ada").make(month_from="4", month_to="4")
    page = open_visit("ada", java_script_enabled=False).go(state["urls"]["page"]).page
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.url.startswith(s3_server.url)
    assert rows_of(download.value) == APRIL_FLIGHTS


def test_another_user_is_not_redirected_to_the_bucket(stack: Stack):
    state = stack.client("ada").make(month_from="4", month_to="4")
    assert stack.client("ada").get(state["urls"]["download"], follow_redirects=True).status_code == 200
    assert stack.client("grace").get(state["urls"]["download"]).status_code == 404
    assert stack.client("grace").get(state["urls"]["ticket"]).status_code == 404
