"""One run of ``fold_messages``: what it is asked for, how much it may still apply, and what came of it so far.

Where events come from is not known here: `foldspool` and `foldqueues` bring them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

from django.db import Error

from footfall.producers.messages import Event, Increment
from footfall.producers.settings import conf
from footfall.workers import attempts, deadletters, pipeline
from footfall.workers.failures import Fault, timed_out
from footfall.workers.held import replay_held
from footfall.workers.pipeline import Also, Delivery, Totals, Wanted
from footfall.workers.replay import Summary
from footfall.workers.settling import SUSPECT_LIMIT, is_transient, suspect_key


class FoldRun:
    """Applies what it is given. ``datasets`` are labels in lower case, none for all that there is.

    ``limit`` is how many events may be applied at most. ``stopped`` is asked between two batches.
    """

    def __init__(
        self, datasets: Collection[str] = (), limit: int | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.totals = Totals()
        self.replayed = Summary()
        self.stopped = stopped
        self._datasets = frozenset(datasets)
        self._limit = limit

    @property
    def left(self) -> int | None:
        """How many events may still be applied; None: any number."""
        return None if self._limit is None else self._limit - self.totals.applied - self.replayed.replayed

    @property
    def over(self) -> bool:
        """Whether nothing more is to be started."""
        return self.stopped() or self.left == 0

    def at_once(self, events_each: int) -> int:
        """How many messages to take for one batch, if each holds ``events_each`` events at most: none too many."""
        most: int = conf.BATCH_MESSAGES
        return most if self.left is None else min(most, max(1, self.left // events_each))

    def wants(self, event: Event) -> bool:
        """Whether the event is one of those that were asked for, however many may be applied."""
        return not self._datasets or (isinstance(event, Increment) and event.dataset in self._datasets)

    # -- Applying

    def replay_held(self, progress: Callable[[int], None] | None = None) -> None:
        """Apply what earlier runs set aside and this one wants. Raises what the database raises."""
        wanted = self.wants if self._datasets else None
        some = replay_held(self.left, wanted=wanted, stopped=self.stopped, progress=progress)
        self.replayed.replayed += some.replayed
        self.replayed.still_dead += some.still_dead
        self.replayed.busy += some.busy

    def apply(self, deliveries: Sequence[Delivery], also: Also | None = None) -> None:
        """Apply a batch; what is not wanted is held. Raises what `pipeline.apply` raises."""
        self.totals += pipeline.apply(deliveries, also=also, wanted=self._admission())

    def apply_alone(self, delivery: Delivery) -> None:
        """Apply a delivery that came back to its queue: counted, and buried when it keeps ending whoever applies it."""
        key = suspect_key(delivery.body)
        kills = attempts.begin(key)
        if kills < SUSPECT_LIMIT:
            with started([key]):
                self.apply([delivery], also=lambda alias: attempts.forget(key))
            return
        self.bury(delivery, kills)
        attempts.forget(key)

    def bury(self, delivery: Delivery, kills: int) -> None:
        """Make a delivery a dead letter without running it."""
        deadletters.bury(delivery, error=f"{kills} processes ended, or gave up, while they applied it.")
        self.totals += Totals(dead=1)

    def _admission(self) -> Wanted | None:
        if not self._datasets and self._limit is None:
            return None
        left = self.left

        def admit(event: Event) -> bool:
            nonlocal left
            if left == 0 or not self.wants(event):
                return False
            if left is not None:
                left -= 1
            return True

        return admit


@contextmanager
def started(keys: Sequence[str]) -> Iterator[None]:
    """For work whose start stands under ``keys``: an exception takes the starts back, unless it would come for ever."""
    try:
        yield
    except Exception as error:
        endless = not isinstance(error, Fault) and (timed_out(error) or not is_transient(error))
        with suppress(Error):
            for key in keys:
                (attempts.own_up if endless else attempts.take_back)(key)
        raise
