"""Label statistics, from a publish to the rows: each hit once, on its day, whatever restarts in between."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import time_machine
import wire
from django.core.cache import cache
from django.db import OperationalError
from processes import Process
from wire import NOW

from footfall.producers import publish_labels
from footfall.producers.messages import decode_unit
from footfall.producers.queues import INCREMENTS
from footfall.producers.spool import current_spool
from footfall.producers.tail import journals, read_slice
from footfall.storage.models import DeadLetter, KnownLabel, Statistic
from footfall.workers.failures import Transient
from footfall.workers.folding import increments
from footfall.workers.pipeline import Delivery, Totals, apply
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)


def counted() -> dict[tuple[Any, ...], int]:
    rows = Statistic.objects.values_list("label", "category", "dom_id", "day", "counter")
    return {row[:4]: row[4] for row in rows}


def publish(query: str, at: datetime = NOW) -> None:
    with time_machine.travel(at, tick=False):
        publish_labels(query)


def fold(now: datetime = NOW) -> int:
    with time_machine.travel(now, tick=False):
        return drain()


TODAY = NOW.date()


def test_tr_04_what_the_grammar_takes_is_what_is_counted() -> None:
    """From the query to the rows."""
    publish("a|a|a b|a:|b::d|b:c:|é")
    fold()

    assert counted() == {
        ("a", "None", "None", TODAY): 3,
        ("a b", "None", "None", TODAY): 1,
        ("b", "None", "d", TODAY): 1,
        ("b", "c", "None", TODAY): 1,
        ("é", "None", "None", TODAY): 1,
    }


def test_tr_05_a_label_with_two_categories_is_two_series() -> None:
    """And with two elements."""
    publish("l:c1:d1|l:c2:d2|l:c1:d1|l:c1:d2")
    fold()

    assert counted() == {
        ("l", "c1", "d1", TODAY): 2,
        ("l", "c2", "d2", TODAY): 1,
        ("l", "c1", "d2", TODAY): 1,
    }


def test_tr_06_folding_again_with_nothing_new_changes_nothing() -> None:
    """Nor does it make a row of zero on the next day."""
    publish("a|b")
    fold()
    before = counted()

    assert fold() == 0
    assert fold(datetime(2026, 6, 16, 12, tzinfo=UTC)) == 0
    assert counted() == before == {("a", "None", "None", TODAY): 1, ("b", "None", "None", TODAY): 1}


def test_tr_07_hits_before_midnight_are_the_previous_days_however_late_they_are_folded() -> None:
    """Midnight in the site's time zone."""
    publish("a", datetime(2026, 6, 14, 21, 59, 59, tzinfo=UTC))
    publish("a", datetime(2026, 6, 14, 22, 0, tzinfo=UTC))
    fold(datetime(2026, 6, 15, 3, tzinfo=UTC))

    assert counted() == {
        ("a", "None", "None", date(2026, 6, 14)): 1,
        ("a", "None", "None", date(2026, 6, 15)): 1,
    }


def test_tr_08_processes_that_see_new_labels_at_once_lose_none(
    processes: Callable[..., Process], spool_directory: Path
) -> None:
    """Three processes, each with a label of its own and one that all have."""
    code = "from footfall.producers import publish_labels; publish_labels({!r})"
    started = [processes("shell", "-c", code.format(f"own {n}|shared|own {n}")) for n in range(3)]
    assert [process.wait(60) for process in started] == [0, 0, 0]

    slices = [read_slice(path, 0, max_lines=100, max_bytes=10**6) for path in journals(spool_directory)]
    lines = [line for piece in slices if piece for _, line in piece.lines]
    apply([Delivery(line, INCREMENTS, decode_unit(line)) for line in lines])

    sums = {label: counter for (label, *_), counter in counted().items()}
    assert sums == {"own 0": 2, "own 1": 2, "own 2": 2, "shared": 3}


def test_tr_09_what_is_lost_with_a_cache_or_a_process_is_no_count(settings: Any) -> None:
    """Between hit and fold the caches are emptied and the writer ends; its journal goes on in another."""
    publish("a|b|a")
    cache.clear()
    current_spool().close()
    publish("a")
    cache.clear()
    fold()

    assert counted() == {("a", "None", "None", TODAY): 3, ("b", "None", "None", TODAY): 1}


def test_tr_09_a_fold_that_fails_halfway_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes away between the sums and the commit: nothing is zeroed before it is written."""
    message = Delivery(wire.body([wire.hit("a"), wire.hit("a"), wire.hit("b")]), INCREMENTS)
    with monkeypatch.context() as patched:
        patched.setattr(increments, "upsert", _gone)
        with pytest.raises(Transient):
            apply([message], now=NOW)
    assert not Statistic.objects.exists() and not KnownLabel.objects.exists()

    assert apply([message], now=NOW) == Totals(applied=3)
    assert counted() == {("a", "None", "None", TODAY): 2, ("b", "None", "None", TODAY): 1}


def _gone(*_: Any) -> None:
    raise OperationalError("the server closed the connection")


def test_tr_12_what_has_no_category_and_no_element_is_found_as_none() -> None:
    """In rows as in queries, whether it was left out, left empty, or written."""
    publish("a|a:|a::|a:None:None|a: : ")
    fold()

    assert Statistic.objects.get(label="a", category="None", dom_id="None").counter == 5
    assert Statistic.objects.latest().counter == 5


@pytest.mark.parametrize(
    "query", ["x" * 251, "a:" + "c" * 31, "a:b:" + "d" * 51, "a|" + "é" * 251], ids=["label", "category", "id", "é"]
)
def test_tr_13_what_is_too_long_never_comes_to_the_fold(query: str) -> None:
    """It is refused at the door; from another program it is a dead letter, and its neighbours count."""
    with pytest.raises(ValueError, match="more than"):
        publish(query)
    label = dict(zip(("label", "category", "dom_id"), query.split("|")[-1].split(":"), strict=False))

    assert fold() == 0
    body = wire.body([wire.hit("before"), wire.hit() | {"label": label}, wire.hit("after")])
    assert apply([Delivery(body, INCREMENTS)], now=NOW) == Totals(applied=2, dead=1)
    assert DeadLetter.objects.get().reason == "bad_event"
    assert {label for label, *_ in counted()} == {"before", "after"}
