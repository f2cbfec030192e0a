"""What a site has accepted: its journals, kept under a second name when the shipper is done with them.

The visitors know only how the site answered; where it didn't, an event may be accepted or not. The journals know.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from footfall.producers.messages import decode_unit
from footfall.producers.spool import JOURNAL_SUFFIX

#: A journal lives as long as its writer, and that for a good while longer than this.
LOOK_SECONDS = 0.02


class Accepted:
    """Keeps every journal of ``spool`` in ``directory``, from `start` to `stop`."""

    def __init__(self, spool: Path, directory: Path) -> None:
        self._spool = spool
        self._directory = directory
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeps journals")

    def start(self) -> None:
        self._directory.mkdir()
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def events(self) -> Counter[str]:
        """How many events of each kind were accepted; exact while nobody publishes."""
        self._link()
        return Counter(kind for line in self._lines() for kind in _kinds(line))

    def _keep(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            self._link()

    def _link(self) -> None:
        for journal in self._spool.glob(f"*{JOURNAL_SUFFIX}"):
            # It is kept already, or is gone, and then it was kept before.
            with suppress(FileExistsError, FileNotFoundError):
                os.link(journal, self._directory / journal.name)

    def _lines(self) -> Iterator[bytes]:
        for journal in self._directory.iterdir():
            # What follows the last newline was torn off, and never accepted.
            yield from filter(None, journal.read_bytes().split(b"\n")[:-1])


def _kinds(line: bytes) -> Iterator[str]:
    unit = decode_unit(line)
    assert unit is not None, line
    for kind, events in unit.by_kind():
        yield from [kind] * len(events)
