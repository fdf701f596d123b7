"""Settings of the processes of a storm's site. STORM_SETTINGS is JSON with the values that differ between sites."""

import json
import os

import environ

from project.environment import mail_settings

GIVEN = json.loads(os.environ["STORM_SETTINGS"])

SECRET_KEY = "only-for-storms"
DEBUG = False
ALLOWED_HOSTS = [GIVEN["address"]]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "channels",
    "exports",
    "tests.storm",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": environ.Env.db_url_config(GIVEN["database"])}
# The transition log records this name, to tell which process made a change.
DATABASES["default"].setdefault("OPTIONS", {}).update(
    application_name=f"{os.environ.get('STORM_ROLE', 'test')}:{os.getpid()}", connect_timeout=5
)
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "tests.storm.urls"
LOGIN_URL = "/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# The timeout is shorter than the time after which another housekeeper sends the mail (tests/storm/apps.py).
mails = {"EMAIL_HOST": GIVEN["address"], "EMAIL_PORT": GIVEN["smtp_port"], "EMAIL_TIMEOUT": 3}
globals().update(mail_settings({"EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend", **mails}))
LAYER = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [GIVEN["redis"]]}}
CHANNEL_LAYERS = {"default": LAYER}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s %(message)s"}},
    "handlers": {"lines": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"exports": {"handlers": ["lines"], "level": "INFO"}},
}
EXPORTS = GIVEN["exports"]

FILES = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": {"location": GIVEN["files"]}}
if bucket := GIVEN["bucket"]:
    from boto3.s3.transfer import TransferConfig
    from s3transfer.utils import ChunksizeAdjuster

    # s3transfer (checked: 0.19) enlarges parts to S3's minimum of 5 MiB; the tests' server accepts smaller ones.
    PART = 64 * 1024
    ChunksizeAdjuster.__init__.__defaults__ = (*ChunksizeAdjuster.__init__.__defaults__[:1], PART, 10_000)
    bucket["OPTIONS"]["transfer_config"] = TransferConfig(
        multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=2
    )
    FILES = bucket
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "exports": FILES,
}
