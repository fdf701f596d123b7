"""The addresses of a site without huey."""

from django.contrib.auth import views as auth_views
from django.urls import include, path

from tests.seed import views

downloads = [
    path("downloads/<str:token>/", views.serve, name="serve"),
    path("anyone/<str:token>/", views.serve_anyone, name="serve_anyone"),
    path("own/<str:token>/", views.serve_own, name="serve_own"),
    path("preview/<str:token>/", views.preview, name="preview"),
]

urlpatterns = [
    path("accounts/login/", auth_views.LoginView.as_view(), name="login"),
    path("exports/", include("exports.urls")),
    path("login-events/", views.export_login_events),
    path("general/", views.export_general),
    path("", include((downloads, "mydownloads"))),
]
