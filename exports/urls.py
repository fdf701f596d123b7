"""The URLs of the app. Include them in the project's urls: path("exports/", include("exports.urls"))."""

from django.urls import path

from exports.exceptions import without_stop_iteration
from exports.http import downloads, feeds, history, presets, tokens, views, webhooks

app_name = "exports"

urlpatterns = [
    path("", history.list_view, name="list"),
    path("clear/", history.clear_view, name="clear"),
    path("new/<slug:file_type>/", views.form_view, name="form"),
    path("new/<slug:file_type>/estimate/", presets.estimate_view, name="estimate"),
    path("new/<slug:file_type>/presets/", presets.presets_view, name="presets"),
    path("presets/<int:pk>/delete/", presets.delete_preset_view, name="delete_preset"),
    path("tokens/", tokens.tokens_view, name="tokens"),
    path("tokens/<int:pk>/revoke/", tokens.revoke_token_view, name="revoke_token"),
    path("webhooks/", webhooks.list_view, name="webhooks"),
    path("webhooks/<int:pk>/", webhooks.webhook_view, name="webhook"),
    path("webhooks/<int:pk>/rotate/", webhooks.rotate_view, name="rotate_webhook"),
    path("webhooks/<int:pk>/enable/", webhooks.enable_view, name="enable_webhook"),
    path("webhooks/<int:pk>/disable/", webhooks.disable_view, name="disable_webhook"),
    path("webhooks/<int:pk>/delete/", webhooks.delete_view, name="delete_webhook"),
    path("webhooks/deliveries/<int:pk>/again/", webhooks.send_again_view, name="send_webhook_again"),
    path("new/<slug:file_type>/feeds/", feeds.feeds_view, name="feeds"),
    path("feeds/<int:pk>/revoke/", feeds.revoke_feed_view, name="revoke_feed"),
    path("feed/<str:address>", feeds.feed_view, name="feed"),
    path("file/<str:ticket>/", downloads.file_view, name="file"),
    path("public/<str:link>/", downloads.public_view, name="public"),
    path("<uuid:pk>/", views.detail_view, name="detail"),
    path("<uuid:pk>/page/", views.page_view, name="page"),
    path("<uuid:pk>/rows/", views.rows_view, name="rows"),
    path("<uuid:pk>/cancel/", views.cancel_view, name="cancel"),
    path("<uuid:pk>/retry/", views.retry_view, name="retry"),
    path("<uuid:pk>/delete/", history.delete_view, name="delete"),
    path("<uuid:pk>/expire/", views.expire_view, name="expire"),
    path("<uuid:pk>/revoke/", views.revoke_view, name="revoke"),
    path("<uuid:pk>/share/", views.share_view, name="share"),
    path("<uuid:pk>/seen/", views.seen_view, name="seen"),
    path("<uuid:pk>/download/", downloads.download_view, name="download"),
]

for _pattern in urlpatterns:
    _pattern.callback = without_stop_iteration(_pattern.callback)
