from django.contrib import admin
from django.contrib.auth import views as auth_views
from django.urls import include, path

from project.demo.views import favicon, home, mail, mails
from project.sessions import LogoutView

urlpatterns = [
    path("", home, name="home"),
    path("exports/api/v1/", include("exports.contrib.api.urls")),
    path("exports/", include("exports.urls")),
    path("login/", auth_views.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
    path("mails/", mails, name="mails"),
    path("mails/<slug:key>/", mail, name="mail"),
    # Stores the chosen language in a cookie; LocaleMiddleware takes it, or else that of the browser.
    path("i18n/", include("django.conf.urls.i18n")),
    path("favicon.ico", favicon, name="favicon"),
    path("admin/", admin.site.urls),
    # The middleware project.probes.Probes answers these; they are listed here so that they can be reversed.
    path("", include("project.probes")),
]
