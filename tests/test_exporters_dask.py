"""The export of docs/delegated.md at a cluster of Dask with three worker processes: a killed worker, a cancel."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exports import services, storage
from exports.exporters import registry
from exports.models import DelegatedJob, FileRequest, Status, transitions
from exports.worker import loop
from tests.dask_cluster import DaskCluster, run_guide, write_rows
from tests.servers import wait_until
from tests.shop.requests import user
from tests.shop.runs import configure, use_folders

pytestmark = [
    pytest.mark.servers,
    pytest.mark.slow,
    pytest.mark.django_db(transaction=True),
    # Of the sockets and loops of Dask's own client.
    pytest.mark.filterwarnings("ignore"),
]

ROWS, FILES = 1_000_000, 40


@pytest.fixture
def cluster(settings: Any, tmp_path: Path) -> Iterator[DaskCluster]:
    use_folders(settings, tmp_path)
    configure(settings, PROGRESS_INTERVAL_SECONDS=0.05, HEARTBEAT_SECONDS=0.1)
    write_rows(tmp_path / "rows", ROWS, files=FILES)
    before = dict(registry.handlers)
    with DaskCluster(tmp_path / "dask") as cluster:
        run_guide(settings, cluster, tmp_path / "rows", tmp_path / "target")
        registry.find("measurements").poll_seconds = 0.1
        yield cluster
    registry.handlers.clear()
    registry.handlers.update(before)


def following(request: FileRequest, act: Any) -> threading.Thread:
    """Call `act` in a thread once the first rows of the export are written."""

    def wait_and_act() -> None:
        wait_until(lambda: FileRequest.objects.get(pk=request.pk).rows_done > 0)
        act()

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    return thread


def test_a_killed_worker_and_a_cancel_in_the_middle_end_right(cluster, tmp_path):
    ada = user(is_superuser=True)
    request, _ = services.request_export(ada, "measurements", {}, format="csv")
    thread = following(request, cluster.kill_worker)
    assert loop.dispatch(request.pk)
    thread.join()
    request.refresh_from_db()
    assert request.status == Status.READY, request.error_detail
    assert cluster.programs[1].poll() is not None
    with storage.open_file(request.filehandle.name) as file:
        lines = file.read().splitlines()
    assert (lines[0], lines[1], len(lines)) == (b'"id","value","word"', b'0,0,"0"', ROWS + 1)
    assert request.rows_done == ROWS

    request, _ = services.request_export(ada, "measurements", {}, format="csv")
    thread = following(request, lambda: transitions.cancel(request))
    assert loop.dispatch(request.pk)
    thread.join()
    request.refresh_from_db()
    assert request.status == Status.CANCELLED
    assert not DelegatedJob.objects.exists()
    assert list((tmp_path / "target").iterdir()) == []
