"""Time the export of docs/delegated.md at a Dask cluster of three worker processes on this host.

python -m bench.dask_cluster --rows 50000000
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

from tests.dask_cluster import DaskCluster, run_guide, write_rows

ROWS_PER_FILE = 500_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000_000, help="the rows in the files of Parquet")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory(prefix="bench-dask-") as name:
        folder = Path(name)
        os.environ |= {"BENCH_DIR": name, "BENCH_ROWS": "0", "BENCH_WITH_EXPORTS": "1", "BENCH_DATABASE": "sqlite"}
        os.environ["DJANGO_SETTINGS_MODULE"] = "bench.settings"
        import django
        from django.conf import settings
        from django.core.management import call_command

        for each in ("sqlite", "work", "exports"):
            (folder / each).mkdir(mode=0o700)
        django.setup()
        call_command("migrate", verbosity=0)
        write_rows(folder / "rows", rows, files=max(rows // ROWS_PER_FILE, 3))
        with DaskCluster(folder / "dask") as cluster:
            run_guide(settings, cluster, folder / "rows", folder / "target")
            export, seconds = run_export()
        print(f"{export.status}: {export.rows_done:,} rows, {export.size or 0:,} bytes, {seconds:.1f} s")
        print(f"{export.rows_done / seconds:,.0f} rows a second. {export.error_detail}")


def run_export():
    from django.contrib.auth import get_user_model

    from exports import services
    from exports.worker import loop

    user = get_user_model().objects.create_superuser("ada")
    export, _ = services.request_export(user, "measurements", {}, format="csv")
    began = time.perf_counter()
    loop.dispatch(export.pk)
    seconds = time.perf_counter() - began
    export.refresh_from_db()
    return export, seconds


if __name__ == "__main__":
    main()
