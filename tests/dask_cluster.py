"""A Dask cluster of three worker processes, and files of Parquet for it; bench/dask_cluster.py uses them too."""

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tests.servers import free_port, wait_until

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "delegated.md"
WORKERS = 3


class DaskCluster:
    """A scheduler and its workers, without the nannies that would start a killed one again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.programs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        port = self.address.rpartition(":")[2]
        self._run("scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard")
        for _ in range(WORKERS):
            self._run("worker", self.address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
        wait_until(lambda: self.worker_count() == WORKERS, seconds=60, describe=lambda: self.log.read_text()[-2000:])
        return self

    def __exit__(self, *error: object) -> None:
        for program in reversed(self.programs):
            program.terminate()
        for program in self.programs:
            try:
                program.wait(10)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def worker_count(self) -> int:
        return self.log.read_text().count("Registered to:")

    def kill_worker(self) -> None:
        self.programs[1].kill()

    def _run(self, program: str, *arguments: str) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dask", program, *arguments]
            self.programs.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder))


def write_rows(folder: Path, rows: int, *, files: int) -> None:
    """Write `rows` rows into files of Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = [rows * number // files for number in range(files + 1)]
    first = folder / "00000.parquet"
    for number, (start, end) in enumerate(pairwise(starts)):
        part = folder / f"{number:05}.parquet"
        if number and end - start == starts[1]:
            # The rows of all files but their length are the same, so that many are soon there.
            shutil.copy(first, part)
            continue
        ids = pa.array(range(end - start), pa.int64())
        table = pa.table({"id": ids, "value": pc.divide(ids.cast(pa.float64()), 7.0), "word": ids.cast(pa.string())})
        pq.write_table(table, part)


def run_guide(settings: Any, cluster: DaskCluster, rows: Path, target: Path) -> None:
    """Register the export of docs/delegated.md for this cluster and these rows."""
    target.mkdir(parents=True, exist_ok=True)
    settings.DASK_SCHEDULER, settings.MEASUREMENTS = cluster.address, str(rows)
    settings.MEASUREMENT_EXPORTS = str(target)
    code = GUIDE.read_text().partition("```python\n")[2].partition("```")[0]
    exec(code, {"__name__": "shop.exports"})
