"""Tables of figures: what benchmarks measure beside pytest-benchmark's own table."""

from __future__ import annotations

from collections.abc import Iterator


class Figures:
    """Tables by their titles, in the order in which they came."""

    def __init__(self) -> None:
        self._tables: dict[str, list[tuple[str, ...]]] = {}

    def add(self, title: str, *cells: str) -> None:
        """One more row of a table; its first row is its head, and all have as many cells."""
        self._tables.setdefault(title, []).append(cells)

    def lines(self) -> Iterator[tuple[str, list[str]]]:
        """Each title, and the rows as lines: the first column to the left, the others to the right."""
        for title, rows in self._tables.items():
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            yield title, [_line(row, widths) for row in rows]


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    first, *others = cells
    right = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return "  ".join([first.ljust(widths[0]), *right]).rstrip()
