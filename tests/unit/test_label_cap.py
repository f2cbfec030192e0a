"""New labels are bounded by the day: known ones go on under their names, and no hit is lost."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
import wire
from django.db import connection
from django.test.utils import CaptureQueriesContext
from wire import NOW

from footfall.producers.queues import INCREMENTS
from footfall.storage.models import DeadLetter, KnownLabel, Statistic
from footfall.workers.folding.increments import Sums, write
from footfall.workers.folding.labels import OTHER
from footfall.workers.pipeline import Delivery, Totals, apply

pytestmark = pytest.mark.django_db

TODAY, YESTERDAY = date(2026, 6, 15), date(2026, 6, 14)


@pytest.fixture(autouse=True)
def _cap_of_three(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_NEW_LABELS_PER_DAY": 3}


def hit(*labels: str, at: datetime = NOW, **more: Any) -> Totals:
    """One message of hits."""
    events = [wire.hit(*label.split(":"), at=at, **more) for label in labels]
    return apply([Delivery(wire.body(events), INCREMENTS)], now=NOW)


def counted(day: date = TODAY) -> dict[str, int]:
    """What was counted on a day: label, or label:category:dom_id where it has them."""
    rows = Statistic.objects.filter(day=day).values_list("label", "category", "dom_id", "counter")
    return {":".join(names).removesuffix(":None:None"): counter for *names, counter in rows}


def known() -> dict[str, date]:
    return dict(KnownLabel.objects.exclude(label=OTHER[0]).values_list("label", "first_day"))


def test_up_to_the_cap_every_label_counts_under_its_name() -> None:
    """Each with its category and element is one."""
    hit("a:x:1", "a:x:2", "a:y:1", "a:x:1")

    assert counted() == {"a:x:1": 2, "a:x:2": 1, "a:y:1": 1}
    assert KnownLabel.objects.filter(first_day=TODAY).count() == 3


def test_what_comes_beyond_counts_under_other() -> None:
    """Exactly, in one batch and in later ones; the first in order of their names are entered."""
    assert hit("e", "d", "c", "b", "a", "e") == Totals(applied=6)
    assert hit("f", "e", "a") == Totals(applied=3)

    assert counted() == {"a": 2, "b": 1, "c": 1, "(other)": 5}
    assert known() == {"a": TODAY, "b": TODAY, "c": TODAY}
    assert Statistic.objects.get(label="(other)").category == "None"
    assert not DeadLetter.objects.exists()


def test_a_flood_never_displaces_known_labels() -> None:
    """On any day, also one on which they are not new."""
    hit("home", "about", at=NOW - timedelta(days=1))
    for n in range(5):
        hit(*(f"flood{n}.{m}" for m in range(50)), "home")
    hit("about")

    assert counted() == {"home": 5, "about": 1, "(other)": 247} | {f"flood0.{m}": 1 for m in (0, 1, 10)}
    assert counted(YESTERDAY) == {"home": 1, "about": 1}


def test_each_day_has_its_own_room() -> None:
    """The day of the event, in one batch too; a label is new on its first day there."""
    one = [wire.hit(label, at=NOW) for label in "abcd"]
    other = [wire.hit(label, at=NOW - timedelta(days=1)) for label in "defgh"]

    apply([Delivery(wire.body([*one, *other]), INCREMENTS)], now=NOW)

    assert known() == {"a": TODAY, "b": TODAY, "c": TODAY, "d": YESTERDAY, "e": YESTERDAY, "f": YESTERDAY}
    assert counted() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert counted(YESTERDAY) == {"d": 1, "e": 1, "f": 1, "(other)": 2}


def test_the_hits_of_a_stranger_stay_on_their_days() -> None:
    """Each day's sum is what it was."""
    hit("a", "b", "c", at=NOW - timedelta(days=1))

    hit("x", "x", at=NOW - timedelta(days=1))
    hit("x", "a", "(other)")

    assert counted(YESTERDAY) == {"a": 1, "b": 1, "c": 1, "(other)": 2}
    assert counted() == {"x": 1, "a": 1, "(other)": 1}


def test_other_itself_is_always_allowed_and_takes_no_room() -> None:
    """With a category of its own it is a label like any."""
    hit("(other)", "a", "b", "(other)", "(other):x", "c", "(other)")

    assert counted() == {"(other)": 4, "(other):x:None": 1, "a": 1, "b": 1}
    assert KnownLabel.objects.count() == 4
    hit("a", "z", at=NOW - timedelta(days=1))
    assert counted(YESTERDAY) == {"a": 1, "z": 1}
    assert KnownLabel.objects.get(label=OTHER[0], category="None").first_day == TODAY


def test_a_greater_cap_makes_room_at_once(settings: Any) -> None:
    """And a smaller one forgets nobody."""
    hit("a", "b", "c", "d")
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_NEW_LABELS_PER_DAY": 4}
    hit("d", "e")
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_NEW_LABELS_PER_DAY": 1}
    hit("a", "f")

    assert counted() == {"a": 2, "b": 1, "c": 1, "d": 1, "(other)": 3}


def test_what_is_refused_makes_nothing_known() -> None:
    """The savepoint takes it back; the others find the room that is left."""
    most = 2**63 - 1

    assert hit("a", value=most) == Totals(applied=1)
    bad = [wire.hit("a"), wire.hit("x", value=-1), wire.hit("y")]
    assert apply([Delivery(wire.body(bad), INCREMENTS)], now=NOW) == Totals(applied=2, dead=1)

    assert known().keys() == {"a", "x", "y"}
    assert counted() == {"a": most, "x": -1, "y": 1}


def test_labels_that_differ_in_case_and_form_are_different() -> None:
    """On every database: names are compared by their characters."""
    hit("a", "A", "á", "a")

    assert counted() == {"a": 2, "A": 1, "á": 1}


def test_known_labels_cost_one_look_up() -> None:
    """And neither lock nor count; beyond the cap there is one count more."""
    hit("a", "b", "c", "d")

    with CaptureQueriesContext(connection) as queries:
        hit("a", "b", "c")
    of_known = [query["sql"] for query in queries if "knownlabel" in query["sql"].lower()]
    with CaptureQueriesContext(connection) as queries:
        hit("d", "e", "f")
    of_strangers = [query["sql"] for query in queries if "knownlabel" in query["sql"].lower()]

    assert len(of_known) == 1 and len(of_strangers) == 2
    assert not any("advisory" in query["sql"] for query in queries)


def test_a_million_labels_are_a_bounded_number_of_rows(settings: Any) -> None:
    """Ten batches of 100,000 hits, no two of the same label: the cap's rows, one more, and every hit."""
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_NEW_LABELS_PER_DAY": 1000}
    for batch in range(10):
        numbers = range(batch * 100_000, (batch + 1) * 100_000)
        write(Sums(labels={(f"label {n}", "links", f"e{n}", TODAY): 1 for n in numbers}), "default")

    assert KnownLabel.objects.count() == 1001
    assert Statistic.objects.count() == 1001
    assert sum(Statistic.objects.values_list("counter", flat=True)) == 1_000_000
    assert counted()["(other)"] == 999_000
