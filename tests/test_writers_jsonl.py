"""JSON Lines, read back line by line."""

import io
import json
from functools import partial

import pytest
from hypothesis import given

from exports.exceptions import DuplicateColumn
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import JsonLinesWriter
from tests.cell_values import HOSTILE
from tests.cell_values import raw_columns as columns
from tests.written import written

written_jsonl = partial(written, JsonLinesWriter)


def rows(content: bytes) -> list[dict]:
    lines = content.decode().split("\n")
    assert lines.pop() == ""
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def test_each_row_is_an_object_on_a_line():
    content = written_jsonl([Column("name", "Name"), Column("size")], [["é", None], [1, 2]])
    assert content == b'{"name":"\xc3\xa9","size":1}\n{"name":null,"size":2}\n'


def test_an_export_of_no_rows_is_an_empty_file():
    assert written_jsonl([Column("a")]) == b""


def test_batches_follow_each_other():
    assert rows(written_jsonl([Column("a")], [[1]], [[None, ""]])) == [{"a": 1}, {"a": None}, {"a": ""}]


def test_json_values_are_part_of_their_line():
    columns = [Column("a", kind="json"), Column("b", kind="json")]
    content = written_jsonl(columns, [[{"x": [1, "é"]}], RawColumn(['{"x": [1, "é"]}'], "json")])
    assert content.decode() == '{"a":{"x": [1, "é"]},"b":{"x": [1, "é"]}}\n'


def test_formulas_are_not_escaped():
    counted = Alterations()
    assert rows(written_jsonl([Column("=a")], [["=1+1"]], alterations=counted)) == [{"=a": "=1+1"}]
    assert counted == {}


def test_a_name_may_hold_any_character():
    counted = Alterations()
    content = written_jsonl([Column('a"\n{'), Column("é\ud800")], [[1], [2]], alterations=counted)
    assert rows(content) == [{'a"\n{': 1, "é\ufffd": 2}]
    assert counted == {"surrogate_replaced": 1}


@pytest.mark.parametrize("names", [("a", "b", "a"), ("\ud800", "\udfff")])
def test_two_columns_of_the_same_name_are_refused(names):
    file = io.BytesIO()
    with pytest.raises(DuplicateColumn, match=r"Two columns have the name '.'\."):
        JsonLinesWriter(file, list(map(Column, names)))
    assert file.getvalue() == b""


def test_several_processes_write_the_same_bytes_and_counts():
    columns = [Column("a"), Column("b", kind="json")]
    batches = [[[f"{number}\ud800", None], [{"n": number}, float("inf")]] for number in range(5)]
    counted, expected = Alterations(), Alterations()
    content = written_jsonl(columns, *batches, processes=2, alterations=counted)
    assert content == written_jsonl(columns, *batches, alterations=expected)
    assert counted == expected == {"surrogate_replaced": 5, "not_a_number": 5}


@given(columns(), HOSTILE)
def test_a_raw_column_gives_the_same_bytes_and_counts_as_its_values(column, name):
    family, typed, texts = column
    made = [Column(name, kind="json" if family == "json" else "")]
    counted, expected = Alterations(), Alterations()
    content = written_jsonl(made, [RawColumn(texts, family)], alterations=counted)
    assert content == written_jsonl(made, [typed], alterations=expected)
    assert (counted, len(rows(content))) == (expected, len(typed))
