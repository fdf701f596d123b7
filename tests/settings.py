"""Settings of the tests: a SQLite file by default, or the PostgreSQL of TEST_DATABASE_URL."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import environ

from project.environment import mail_settings

SCRATCH = Path(tempfile.mkdtemp(prefix="live-exports-tests-"))
OWNER = os.getpid()


@atexit.register
def remove_scratch() -> None:
    # A forked child runs this too, but must leave the folder to its parent.
    if os.getpid() == OWNER:
        shutil.rmtree(SCRATCH, ignore_errors=True)


SECRET_KEY = "only-for-tests"
DEBUG = False
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
# TEST_USE_TZ=0 runs the tests with naive local times, in a zone that differs from UTC all year.
USE_TZ = os.environ.get("TEST_USE_TZ", "1") == "1"
TIME_ZONE = "UTC" if USE_TZ else "America/Bogota"
LANGUAGE_CODE = "en"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.admin",
    "channels",
    "exports",
    "tests.shop",
    "tests.seed",
]
DATABASES = {
    "default": environ.Env.db_url_config(os.environ.get("TEST_DATABASE_URL", f"sqlite:///{SCRATCH}/db.sqlite3"))
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Each thread opens a separate connection, so the test database must be a file.
    DATABASES["default"]["TEST"] = {"NAME": str(SCRATCH / "test.sqlite3")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
MEDIA_ROOT = SCRATCH / "media"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "exports": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(SCRATCH / "exports")},
    },
}
globals().update(mail_settings({"EMAIL_BACKEND": "django.core.mail.backends.locmem.EmailBackend"}))
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
EXPORTS = {
    "UPLOAD_TO": "generated",
    "WORK_DIR": str(SCRATCH / "work"),
    "QUEUE_BACKEND": None,
    "BASE_URL": "https://exports.example",
    # Tests repeat requests at once.
    "REUSE_WITHIN_SECONDS": 0,
    # The tests must pass on a machine with a nearly full disk.
    "MIN_FREE_DISK_BYTES": 0,
}
