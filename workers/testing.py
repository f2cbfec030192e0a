"""For the tests of a site: apply what was published, here and now, through the real pipeline."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.core import mail

from footfall.producers.background import stop_thread
from footfall.producers.settings import conf
from footfall.producers.shipper import Shipper
from footfall.producers.slices import Message
from footfall.producers.spool import current_spool, written_here
from footfall.producers.tail import SpoolLock, journals
from footfall.workers import pipeline, spoolreader
from footfall.workers.embedded import LOCK_NAME
from footfall.workers.spoolreader import Piece, SpoolReader

#: How long a reader at work is waited for, in seconds.
LOCK_SECONDS = 5.0

REMEDY = 'Give tests a spool of their own: another FOOTFALL["SPOOL_DIR"].'


def drain() -> int:
    """Apply everything that is in the spool, and return how many units of work that were.

    Works with any TRANSPORT, needs no broker and no worker, and works inside TestCase. Publishing inside `atomic`
    counts from its commit on: in a TestCase wrap it in ``captureOnCommitCallbacks(execute=True)``. Raises
    RuntimeError where another process reads the spool and does not let go of it, or where a test would take what
    other processes published into the test database; and what the pipeline raises.
    """
    # So that its journal ends here: a later test must not find it, with its position rolled back.
    current_spool().close()
    if not conf.spool_dir.exists():
        return 0
    _refuse_strangers()
    if conf.TRANSPORT == "rabbitmq":
        stop_thread()
        return _drain_as_shipper()
    return _drain_as_worker()


def _refuse_strangers() -> None:
    """What the site itself published must not end in a test database: then it would be lost."""
    in_a_test = hasattr(mail, "outbox")  # Django's test environment is set up
    strangers = [path for path in journals(conf.spool_dir) if path.name not in written_here]
    if in_a_test and strangers:
        raise RuntimeError(f"The spool {conf.spool_dir} holds what other processes published. {REMEDY}")


def _drain_as_worker() -> int:
    with _locked(SpoolLock(conf.spool_dir / LOCK_NAME)):
        reader = SpoolReader(conf.spool_dir)
        reader.load()
        return sum(_apply(reader, pieces) for pieces in iter(reader.next_pieces, []))


def _apply(reader: SpoolReader, pieces: list[Piece]) -> int:
    deliveries = [delivery for piece in pieces for delivery in piece.deliveries()]
    pipeline.apply(deliveries, also=lambda alias: spoolreader.conclude(pieces))
    reader.passed(pieces)
    return len(deliveries)


def _drain_as_shipper() -> int:
    shipper = Shipper(conf.spool_dir, _ApplyingPublisher())
    with _locked(shipper.lock):
        while not shipper.is_empty():
            shipper.ship_once()
        # Once more, to remove the journals that are finished.
        shipper.ship_once()
    return shipper.shipped_units


class _ApplyingPublisher:
    """Instead of being published, messages go into the pipeline as a worker would get them."""

    def publish(self, messages: Sequence[Message]) -> None:
        pipeline.apply([pipeline.Delivery(body, queue) for queue, body in messages])

    def idle(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


@contextmanager
def _locked(lock: SpoolLock) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_SECONDS
    while not lock.acquire():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Process {lock.holder()} works on the spool {lock.path.parent}. {REMEDY}")
        time.sleep(0.02)
    try:
        yield
    finally:
        lock.release()
