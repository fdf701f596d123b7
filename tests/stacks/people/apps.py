from collections.abc import Mapping
from typing import Any

from django.apps import AppConfig
from django.db.models import QuerySet


class PeopleConfig(AppConfig):
    name = "tests.stacks.people"

    def ready(self) -> None:
        from exports.exporters import QuerySetExport, registry
        from tests.stacks.people.models import Person

        class PeopleExport(QuerySetExport):
            file_type = "people"
            columns = ("key", "address")
            formats = ("csv",)
            permission = "people.view_person"
            public_links = True

            def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet[Any]:
                return Person.objects.filter(pk=user.pk)

        registry.register(PeopleExport)
