"""Django settings of the web process and of the worker of bench/live. Their environment names the servers."""

import os
from importlib.util import find_spec

from bench.live_celery import celery_app as celery_app

SECRET_KEY = "only-for-the-benchmark"
USE_TZ = True
TIME_ZONE = "UTC"
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "exports",
    *(peer for peer in ("celery_progress", "django_eventstream") if find_spec(peer)),
]
MIDDLEWARE = [
    # It gives responses a Content-Length.
    "django.middleware.common.CommonMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
ROOT_URLCONF = "bench.live_urls"
ASGI_APPLICATION = "bench.live_asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["BENCH_DATABASE"],
        "HOST": os.environ["BENCH_SOCKET"],
        "USER": "exports",
    }
}
REDIS_SOCKET = os.environ["BENCH_REDIS_SOCKET"]
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [f"unix://{REDIS_SOCKET}?db=0"]},
    }
}
EVENTSTREAM_REDIS = {"unix_socket_path": REDIS_SOCKET}
EXPORTS = {"QUEUE_BACKEND": None, "BASE_URL": "https://bench.example"}
