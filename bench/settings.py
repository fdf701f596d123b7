"""Django settings of one process of the benchmark. Its environment names the rows: see `bench.databases`."""

import os
from pathlib import Path

HOME = Path(os.environ["BENCH_DIR"])
ROWS = os.environ["BENCH_ROWS"]

SECRET_KEY = "only-for-the-benchmark"
USE_TZ = True
TIME_ZONE = "UTC"
# Other tools run without the app `exports`, which would add to their memory.
OURS = ["exports"] if os.environ["BENCH_WITH_EXPORTS"] else []
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", *OURS, "bench.rows"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": str(HOME / "sqlite" / f"rows_{ROWS}.sqlite3"),
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
}
POSTGRESQL = {
    "ENGINE": "django.db.backends.postgresql",
    "NAME": f"rows_{ROWS}",
    "HOST": os.environ.get("BENCH_SOCKET", ""),
    "USER": "exports",
}
DATABASES = {"default": POSTGRESQL if os.environ["BENCH_DATABASE"] == "postgresql" else SQLITE}

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "exports": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(HOME / "exports")},
    },
}
EXPORTS = {"WORK_DIR": str(HOME / "work"), "QUEUE_BACKEND": None, "BASE_URL": "https://bench.example"}
