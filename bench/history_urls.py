"""The site of bench/history: the admin, the app's pages and one type of export."""

from django.contrib import admin
from django.contrib.auth.models import User
from django.urls import include, path

from exports.exporters import Column, QuerySetExport, registry


class FlightExport(QuerySetExport):
    file_type = "flights"
    title = "Flights"
    columns = (Column("username"),)

    def get_queryset(self, user, criteria):
        return User.objects.all()

    def has_permission(self, user, criteria):
        return True


registry.register(FlightExport)
urlpatterns = [path("admin/", admin.site.urls), path("exports/", include("exports.urls"))]
