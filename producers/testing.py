"""For the tests of a site: see what it publishes, with no spool, broker or worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from footfall.producers.messages import Event
from footfall.producers.scoping import sink


@dataclass
class Captured:
    """One published event, and whether its transaction is committed (inside TestCase it never is)."""

    kind: str
    event: Event
    committed: bool = False

    def commit(self) -> None:
        self.committed = True


@contextmanager
def captured_messages() -> Iterator[list[Captured]]:
    """Collect what is published in the block, in order; nothing leaves the process.

    Events are recorded when they are published, also inside ``TestCase``, whose transaction never commits:
    ``committed`` tells the two apart, and Django's ``captureOnCommitCallbacks(execute=True)`` commits them.
    """
    captured: list[Captured] = []

    def record(kind: str, event: Event) -> Callable[[], None]:
        captured.append(Captured(kind, event))
        return captured[-1].commit

    token = sink.set(record)
    try:
        yield captured
    finally:
        sink.reset(token)
