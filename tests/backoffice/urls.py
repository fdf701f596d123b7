from django.urls import include, path

from tests.backoffice.sites import site

urlpatterns = [
    path("backoffice/", site.urls),
    path("exports/", include("exports.urls")),
]
