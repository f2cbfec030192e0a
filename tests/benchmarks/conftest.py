"""Prints the tables of figures when all benchmarks have run."""

from __future__ import annotations

import pytest
from benchmarks.figures import Figures

FIGURES = pytest.StashKey[Figures]()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """What is added to them is printed at the end."""
    return pytestconfig.stash.setdefault(FIGURES, Figures())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, lines in config.stash.get(FIGURES, Figures()).lines():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.write_line(line)
