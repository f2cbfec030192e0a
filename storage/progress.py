"""How far a command is, on its error output."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.core.management.base import OutputWrapper


class Progress:
    """Shows on ``out`` how many of ``total`` are done: a bar on a terminal, else a line with ``noun`` now and then."""

    WIDTH = 40
    SECONDS = 10.0

    def __init__(
        self, out: OutputWrapper, total: int, noun: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.done = 0
        self._out = out
        self._total = max(total, 1)
        self._noun = noun
        self._clock = clock
        self._last = clock()
        self._bar = out.isatty()

    def __call__(self, done: int) -> None:
        """Take note that ``done`` are done."""
        self.done = done
        if self._bar:
            filled = min(self.WIDTH, self.WIDTH * done // self._total)
            self._write(f"\r[{'#' * filled}{'.' * (self.WIDTH - filled)}] {done} of {self._total}", ending="")
        elif self._clock() - self._last >= self.SECONDS:
            self._last = self._clock()
            self._write(f"{done} of {self._total} {self._noun}", ending="\n")

    def close(self) -> None:
        """End the bar's line."""
        if self._bar and self.done:
            self._write("", ending="\n")

    def _write(self, text: str, ending: str) -> None:
        self._out.write(text, style_func=str, ending=ending)
        self._out.flush()
