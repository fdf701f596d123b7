from django.urls import include, path

from tests.seed import by_hand

urlpatterns = [
    path("", include("tests.seed.cron_urls")),
    path("by-hand/", by_hand.export_by_hand),
    path("by-cron/", by_hand.export_by_hand, {"is_by_cron": True}),
    path("queued/", by_hand.export_queued),
]
