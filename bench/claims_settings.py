"""Django settings of one worker of bench/queue. Its environment names the database and the tool."""

import os

SECRET_KEY = "only-for-the-benchmark"
USE_TZ = True
TIME_ZONE = "UTC"
APPS = {"ours": ["exports"], "django-tasks-db": ["django_tasks", "django_tasks_db"]}
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", *APPS[os.environ["BENCH_TOOL"]]]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["BENCH_DATABASE"],
        "HOST": os.environ["BENCH_SOCKET"],
        "USER": "exports",
        "CONN_MAX_AGE": None,
    }
}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
EXPORTS = {"QUEUE_BACKEND": None, "BASE_URL": "https://bench.example", "MAX_RUNNING_PER_USER": 2}
