"""Columns never add, drop or merge rows, whatever the relations hold and however the rows are read."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.db import connection
from django.db.models import Case, Count, Exists, F, FilteredRelation, OuterRef, Q, QuerySet, Subquery, Value, When
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exports.exceptions import UnknownColumn
from exports.exporters import Column, QuerySetExport
from exports.exporters.base import table_of
from exports.exporters.sheets import Total
from exports.models import FileRequest, Status
from exports.tabular.cells.raw_columns import row_count
from exports.tabular.readers import explain, querysets
from exports.tabular.readers.resolve import is_expression
from exports.worker import loop
from tests.shop.exports import registered
from tests.shop.models import Book, Customer, EveryField, Remark, Tag
from tests.shop.requests import queued
from tests.shop.runs import use_folders

pytestmark = pytest.mark.both_databases

MISSING = 10**6
FASTEST = "copy" if connection.vendor == "postgresql" else "cursor"

books = st.fixed_dictionaries({
    "title": st.sampled_from(["a", "b"]),
    "pages": st.integers(1, 2),
    "author": st.sampled_from(["Ann", "Bob", None]),
    "first_part": st.sampled_from([None, MISSING, 0]),
    "tags": st.sets(st.sampled_from(["x", "y"])),
})  # fmt: skip


def tagged(name: str) -> QuerySet:
    return Tag.objects.filter(book=OuterRef("pk"), name=name)


QUERYSETS = {
    "all": lambda: Book.objects.all(),
    "distinct": lambda: Book.objects.distinct(),
    "ordered by a missing row": lambda: Book.objects.order_by("author__name", "-first_part__author__name"),
    "select_related": lambda: Book.objects.select_related("author", "first_part__author"),
    "deferred": lambda: Book.objects.only("pages"),
    "duplicates": lambda: Book.objects.filter(tags__name__in=["x", "y"]),
    "distinct duplicates": lambda: Book.objects.filter(tags__name__in=["x", "y"]).distinct(),
    "slice": lambda: Book.objects.order_by("pages", "pk")[1:4],
    "distinct slice": lambda: Book.objects.order_by("pages").distinct()[:3],
    "distinct in another order": lambda: Book.objects.extra(order_by=["pages"]).distinct(),
    "filtered by a relation": lambda: Book.objects.filter(Q(author__name="Ann") | Q(first_part__pages=1)),
    "annotated": lambda: Book.objects.annotate(count=Count("tags")),
    "annotated with a path": lambda: Book.objects.annotate(count=F("author__name")),
    "union": lambda: Book.objects.filter(pages=1).union(Book.objects.filter(title="a"), all=True),
}  # fmt: skip
COLUMNS = {
    "field": Column("pages"),
    "custom field": Column("title"),
    "relation": Column("author_id"),
    "path": Column("author__name"),
    "long path": Column("first_part__author__city"),
    "callable": Column("callable", source=lambda book: book.pages),
    "expression": Column("expression", source=F("author__name")),
    "condition": Column("condition", source=Case(When(Q(author__name="Ann"), then=Value(1)), default=Value(0))),
    "subquery": Column("subquery", source=Subquery(tagged("x").values("name")[:1])),
    "exists": Column("exists", source=Exists(tagged("y"))),
}
AGGREGATE = Column("aggregate", source=Count("tags__name"))


def save(rows: Sequence[Mapping[str, Any]]) -> None:
    for model in (Book.tags.through, Book, Tag, Customer):
        model.objects.all().delete()
    people = {name: Customer.objects.create(name=name) for name in ("Ann", "Bob")}
    tags = {name: Tag.objects.create(name=name) for name in ("x", "y")}
    for number, row in enumerate(rows):
        author = people[row["author"]].pk if row["author"] else MISSING
        part = row["first_part"] or (None if row["first_part"] is None else 0)
        Book(number, row["title"], row["pages"], author, part).save(force_insert=True)
    through = Book.tags.through
    pairs = [(number, tags[name].pk) for number, row in enumerate(rows) for name in row["tags"]]
    through.objects.bulk_create(through(book_id=book, tag_id=tag) for book, tag in pairs)


@pytest.mark.django_db
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(books, max_size=6),
    names=st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=3, unique=True),
    has_aggregate=st.booleans(),
)
def test_as_many_rows_are_read_as_counted(rows, names, has_aggregate):
    save(rows)
    for name, queryset in QUERYSETS.items():
        columns = [COLUMNS[each] for each in names]
        if name == "union":
            columns = [Column("pk"), *(each for each in columns if not is_expression(each))]
        elif has_aggregate and "duplicates" not in name and "slice" not in name:
            columns.append(AGGREGATE)
        read = sum(row_count(batch) for batch in querysets.batches(queryset(), columns, size=3))
        assert read == queryset().count(), name


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("added", "strategy"), [([], FASTEST), ([Column("title")], "cursor"), ([COLUMNS["callable"]], "instances")]
)
def test_a_missing_row_leaves_cells_empty_by_every_strategy(added, strategy):
    save([{"title": "a", "pages": 1, "author": None, "first_part": MISSING, "tags": []}])
    columns = [Column("author__name"), Column("first_part__author__name"), *added]
    queryset = Book.objects.filter(author__isnull=False).select_related("author").order_by("author__name")
    assert explain.explain(queryset, columns).strategy == strategy
    [batch] = querysets.batches(queryset, columns)
    assert [list(batch[0]), list(batch[1])] == [[None], [None]]


@pytest.mark.django_db
def test_a_missing_row_leaves_cells_of_a_union_empty():
    save([{"title": "a", "pages": 1, "author": None, "first_part": MISSING, "tags": []}])
    union = Book.objects.filter(pages=1).union(Book.objects.filter(pages=2))
    [batch] = querysets.batches(union, [Column("author__name"), Column("first_part__author_id"), Column("author__id")])
    assert [list(column) for column in batch] == [[None], [None], [MISSING]]


@pytest.mark.django_db
def test_the_other_side_of_a_relation_is_its_key_in_a_union():
    rows = [EveryField.objects.create(name=name) for name in "ab"]
    remark = Remark.objects.create(row=rows[0], text="x")
    union = EveryField.objects.filter(name="a").union(EveryField.objects.filter(name="b")).order_by("name")
    [batch] = querysets.batches(union, [Column("remark__pk"), Column("remark__text"), Column("remark__row__name")])
    assert [list(column) for column in batch] == [[remark.pk, None], ["x", None], ["a", None]]


@pytest.mark.django_db
@pytest.mark.parametrize("column", [Column("tag", source=F("tags__name")), Column("x__name")])
def test_a_source_with_many_values_is_refused(column):
    queryset = Book.objects.annotate(x=FilteredRelation("tags"))
    with pytest.raises(UnknownColumn, match=r"has many values for each row\. Use an aggregate or a Subquery"):
        list(querysets.batches(queryset, [column]))


# Exports


class BookExport(QuerySetExport):
    file_type = "books"
    title = "Books"
    formats = ("csv", "xlsx")
    columns = (Column("pages"),)

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet:
        return Book.objects.order_by("pk")


@pytest.fixture
def made(settings, tmp_path):
    """Make an export of five books, of which one has no tag and two have two."""
    use_folders(settings, tmp_path)
    tags = [["x"], ["x", "y"], [], ["y"], ["x", "y"]]
    save([{"title": "a", "pages": 1, "author": None, "first_part": None, "tags": names} for names in tags])

    def make(exporter: type[QuerySetExport], **columns: Any) -> FileRequest:
        with registered(exporter):
            export = queued(file_type=exporter.file_type, **columns)
            assert loop.dispatch(export.pk)
        return FileRequest.objects.get(pk=export.pk)

    return make


class OrderedByTagExport(BookExport):
    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet:
        return Book.objects.order_by("tags__name")


class MergingExport(BookExport):
    columns = (Column("pages"), Column("count", source=Count("tags")))

    def get_queryset(self, user: Any, criteria: Mapping[str, Any]) -> QuerySet:
        return Book.objects.filter(tags__name__in=["x", "y"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("exporter", "counted", "read"), [(OrderedByTagExport, 5, 7), (MergingExport, 6, 4)])
def test_an_export_of_other_rows_than_counted_fails_with_both_numbers(made, exporter, counted, read):
    export = made(exporter)
    assert (export.status, export.error_code, export.filehandle.name) == (Status.FAILED, "rows_differ", "")
    assert f"{counted} rows were counted for 'Books', and {read} were read" in export.error_detail


@pytest.mark.django_db
def test_a_count_of_another_state_than_the_rows_is_an_estimate():
    # The test's transaction is READ COMMITTED on PostgreSQL: each statement reads the newest state.
    with table_of(Book.objects.all(), [Column("pages")]) as table:
        assert table.total == Total(0, is_estimate=connection.vendor == "postgresql")


@pytest.mark.django_db(transaction=True)
def test_the_end_of_an_iterator_in_a_column_fails_the_export(made):
    class FirstTagExport(BookExport):
        columns = (Column("tag", source=lambda book: next(iter(book.tags.all())).pk),)

    export = made(FirstTagExport)
    assert (export.status, export.error_code) == (Status.FAILED, "export_failed")
    assert "column 'tag', row with primary key 2" in export.error_detail
    assert "test_readers_row_counts.py" in export.error_detail


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("hook", ["get_queryset", "get_columns", "get_filename", "design"])
def test_the_end_of_an_iterator_in_a_hook_fails_the_export(made, hook):
    export = made(type("HookExport", (BookExport,), {hook: lambda *args: next(iter([]))}), format="xlsx")
    assert (export.status, export.error_code) == (Status.FAILED, "export_failed")
