"""The progress of a command, on a terminal and elsewhere."""

import io

from django.core.management.base import OutputWrapper

from footfall.storage.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_a_bar_on_a_terminal() -> None:
    """One line that is drawn over, and ended."""
    terminal = Terminal()
    progress = Progress(OutputWrapper(terminal), 4, "letters")

    for done in (2, 4):
        progress(done)
    progress.close()

    assert terminal.getvalue() == f"\r[{'#' * 20}{'.' * 20}] 2 of 4\r[{'#' * 40}] 4 of 4\n"


def test_progress_is_a_line_now_and_then_elsewhere() -> None:
    """A log is not flooded."""
    log, clock = io.StringIO(), Clock()
    progress = Progress(OutputWrapper(log), 400, "dead letters", clock=clock)

    for done in (100, 200, 300, 400):
        clock.now += 6
        progress(done)
    progress.close()

    assert log.getvalue() == "200 of 400 dead letters\n400 of 400 dead letters\n"


def test_a_total_of_nothing_is_no_error() -> None:
    """Rows may go between counting and reading."""
    terminal = Terminal()

    Progress(OutputWrapper(terminal), 0, "rows")(3)

    assert "3 of 1" in terminal.getvalue()
