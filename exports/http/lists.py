"""The addresses that export the list of a page: the page's own, with the format as a parameter."""

from collections.abc import Iterable
from typing import Final

from django.http import HttpRequest

from exports.tabular import writers

EXPORT_PARAMETER: Final = "export"
LIST_FORMATS: Final = ("xlsx", "csv")


def export_links(request: HttpRequest, formats: Iterable[str]) -> list[tuple[str, str]]:
    """Return for each format the address that exports the list of this page, and the format's label.

    The addresses keep the filters and the ordering of the page. Raise UnknownFormat.
    """
    query = request.GET.copy()
    query.pop("page", None)
    links = []
    for writer in map(writers.get, formats):
        query[EXPORT_PARAMETER] = writer.format
        links.append((f"?{query.urlencode()}", writer.label))
    return links
