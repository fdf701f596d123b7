"""The pages of ours, and of the peers that are installed."""

from importlib.util import find_spec

from django.urls import include, path

urlpatterns = [path("exports/", include("exports.urls"))]
if find_spec("celery_progress"):
    urlpatterns.append(path("celery-progress/", include("celery_progress.urls")))
if find_spec("django_eventstream"):
    streams = include("django_eventstream.urls")
    urlpatterns.append(path("events/<channel>/", streams, {"format-channels": ["{channel}"]}))
