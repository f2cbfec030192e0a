"""Cells of CSV files that a spreadsheet shows as text: none begins like a formula, whoever wrote what is in it."""

from __future__ import annotations

import unicodedata
from decimal import Decimal

#: What a formula may begin with, each as it is and in its full-width form.
_FORMULA = frozenset("=+-@＝＋－＠")
_CONTROLS = frozenset("\t\r\n")


def safe_cell(value: object) -> str:
    """``value`` as the text of one cell, still to be quoted by the csv module. None is an empty cell.

    A number stays a number. A text that could be taken for a formula, also after blanks and characters that don't
    show, gets an apostrophe ahead, which spreadsheets take for "this is text". NUL is left out.
    """
    if value is None:
        return ""
    if isinstance(value, (int, float, Decimal)):
        return str(value)
    text = str(value).replace("\0", "")
    return f"'{text}" if text[:1] in _CONTROLS or _first_shown(text) in _FORMULA else text


def _first_shown(text: str) -> str:
    """The first character that is neither a blank nor invisible, as a spreadsheet may read it; "" for none."""
    return next((c for c in text if unicodedata.category(c)[0] not in "CZ"), "")
