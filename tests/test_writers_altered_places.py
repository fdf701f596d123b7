"""Where the first altered cells are: their addresses in the receipt."""

from io import BytesIO

import pytest

from exports.tabular.cells.altered_places import MAX_PLACES
from exports.tabular.cells.raw_columns import RawColumn
from exports.tabular.columns import Alterations, Column
from exports.tabular.writers import get, serializer_pool

COLUMNS = [Column("number", "No."), Column("note", "Note")]
FORMULA = "=1+1"


def written(format: str, *batches: object) -> Alterations:
    alterations = Alterations()
    with get(format)(BytesIO(), COLUMNS, alterations=alterations) as writer:
        for batch in batches:
            writer.write(batch)
    return alterations


@pytest.mark.parametrize("raw", [False, True])
def test_addresses_count_the_header_and_go_on_with_each_batch(raw: bool) -> None:
    def notes(*texts: str) -> object:
        return RawColumn(texts, "text") if raw else list(texts)

    found = written("csv", [["1", "2"], notes("a", FORMULA)], [["3", FORMULA], notes(FORMULA, "b")])
    assert found == {"formula_escaped": 3}
    assert found.places == {"formula_escaped": ["B3", "B4", "A5"]}


def test_json_lines_are_told_by_line_and_name() -> None:
    found = written("jsonl", [["1", "2"], [float("nan"), 1.0]])
    assert found.places == {"not_a_number": ["1:note"]}


def test_the_sheets_of_a_workbook_have_their_names() -> None:
    alterations = Alterations()
    with get("xlsx")(BytesIO(), COLUMNS, alterations=alterations, title="One") as writer:
        writer.write([["1"], [10**20]])
        writer.begin_table("Two", COLUMNS)
        writer.write([["1", "2"], [1, 10**20]])
    assert alterations.places == {"number_as_text": ["B2", "Two!B3"]}


def test_only_the_first_cells_of_each_kind_are_located() -> None:
    batch = [[FORMULA] * 100, ["a\x00"] * 100]
    found = written("csv", batch, batch)
    assert found == {"formula_escaped": 200, "control_removed": 200}
    assert {kind: len(places) for kind, places in found.places.items()} == {
        "formula_escaped": MAX_PLACES,
        "control_removed": MAX_PLACES,
    }


def test_cells_are_not_converted_again_once_enough_are_located(monkeypatch: pytest.MonkeyPatch) -> None:
    located = []

    def spy(*args: object) -> list[object]:
        located.append(args)
        return real(*args)

    real = serializer_pool.locate
    monkeypatch.setattr(serializer_pool, "locate", spy)
    written("csv", *[[["1"] * 10, [FORMULA] * 10]] * 20)
    assert len(located) == 1
