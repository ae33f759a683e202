"""The table of faults is whole, and every test that it names is there."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from tests.faults.row import Row
from tests.faults.rows import ROWS


@cache
def named_in(file: Path) -> Counter[str]:
    """The tests of a file, each with how often its name is given: pytest runs only the last of one name."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return Counter(one.name for one in tree.body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def test_every_row_is_there_once_and_in_order() -> None:
    assert [row.number for row in ROWS] == list(range(1, 37))
    assert len({row.fault for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_a_row_is_shown_or_says_why_not(row: Row) -> None:
    assert row.shown or row.later or row.not_applicable
    assert len(set(row.shown)) == len(row.shown), f"row {row.number} lists a test twice"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_every_test_that_a_row_names_exists_once(repository: Path, row: Row) -> None:
    for node in row.shown:
        file, _, name = node.partition("::")
        assert (repository / file).is_file(), f"row {row.number}: there is no {file}"
        assert named_in(repository / file)[name] == 1, f"row {row.number}: {node} is not there, or twice"


def test_every_test_beside_the_table_is_in_it(repository: Path) -> None:
    """What is written for a fault is listed under it."""
    listed = {node for row in ROWS for node in row.shown}
    for file in sorted((repository / "tests" / "faults").glob("test_*.py")):
        if file.name != Path(__file__).name:
            for name in named_in(file):
                assert f"tests/faults/{file.name}::{name}" in listed, f"{file.name}::{name} is in no row"


def test_most_rows_are_passed() -> None:
    verdicts = Counter(row.verdict for row in ROWS)
    assert set(verdicts) <= {"passed", "passed, a part later", "later", "not applicable"}
    assert verdicts["passed"] + verdicts["passed, a part later"] >= 35
