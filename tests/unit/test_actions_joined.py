"""Which actions become one: within a unit of work, with what is stored, in any split and in any order."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import wire
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, Note, Page, Topic
from wire import NOW

from footfall.producers.messages import MAX_REFS, Ref
from footfall.producers.queues import ACTIONS
from footfall.storage import handlers as action_handlers
from footfall.storage.actions import ActionHandler, Draft
from footfall.storage.drafts import merged
from footfall.storage.models import Action, ActionObject, ActionStamp, DeadLetter, DeletedItem
from footfall.workers.failures import Transient
from footfall.workers.folding import actionrows, actions, joining, storedactions
from footfall.workers.folding.actions import SLICE
from footfall.workers.pipeline import Delivery, Totals, apply

pytestmark = pytest.mark.django_db

in_any_case = settings(
    max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(autouse=True)
def _handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that a test defines are forgotten after it."""
    monkeypatch.setattr(action_handlers, "_handlers", dict(action_handlers._handlers))


@pytest.fixture
def news(db: None) -> SimpleNamespace:
    return SimpleNamespace(
        ada=User.objects.create(username="ada"),
        bob=User.objects.create(username="bob"),
        articles=[Article.objects.create(title=f"News {n}") for n in range(4)],
        topics=[Topic.objects.create(slug=slug) for slug in ("django", "python")],
    )


def seven(at: datetime, chance: random.Random | None = None) -> str:
    """An id of version 7 as it would be made at ``at``."""
    number = int(at.timestamp() * 1000) << 80 | (chance or random.Random()).getrandbits(80)
    return str(uuid.UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | (0x7 << 76) | (0x2 << 62)))


def act(actor: Any, verb: str, *targets: Any, ago: float = 0, delay: int | None = None, **fields: Any) -> wire.Event:
    """``actor`` did ``verb`` so many seconds ``ago``, and published it then."""
    at = NOW - timedelta(seconds=ago)
    waiting = {} if delay is None else {"grouping_delay": delay}
    related = [wire.ref(one) for one in fields.pop("related", ())]
    more = ({"related": related} if related else {}) | waiting | fields
    return wire.action(actor, verb, *targets, **({"id": seven(at), "at": at} | more))


def unit_of(*events: wire.Event, unit: str | None = None) -> list[wire.Event]:
    unit = unit or str(uuid.uuid4())
    return [event | {"unit": unit} for event in events]


def send(*events: wire.Event) -> Totals:
    """Apply one batch of one message."""
    return deliver([events])


def deliver(messages: Sequence[Sequence[wire.Event]]) -> Totals:
    """Apply one batch."""
    return apply([Delivery(wire.body(events, ACTIONS), ACTIONS) for events in messages], now=NOW)


def stored() -> list[dict[str, Any]]:
    """The actions by time and id, with their objects; the copies beside those are held against the action."""
    rows = []
    for action in Action.objects.order_by("timestamp", "id"):
        entries = list(ActionObject.objects.filter(action_id=action.pk).order_by("id"))
        for entry in entries:
            for name in ("verb", "level", "timestamp", "renewed"):
                assert getattr(entry, name) == getattr(action, name), name
            assert entry.changed == action.changed
        of = {role: [e.object_id for e in entries if e.role == role] for role in "atr"}
        assert of["a"] == ([action.actor_id] if action.actor_type else [])
        rows.append(
            {
                "id": str(action.pk),
                "actor": action.actor_id,
                "verb": action.verb,
                "level": action.level,
                "data": action.data,
                "timestamp": action.timestamp,
                "renewed": action.renewed,
                "targets": sorted(of["t"]),
                "related": sorted(of["r"]),
            }
        )
    return rows


def verbs() -> list[str]:
    return [row["verb"] for row in stored()]


@contextmanager
def rolled_back() -> Iterator[None]:
    """What is done in the block is undone at its end: an example leaves nothing to the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


# -- The window of stored actions


@pytest.mark.parametrize(("seconds", "rows"), [(0, 1), (59, 1), (60, 1), (61, 2)])
@pytest.mark.parametrize("together", [False, True], ids=["two batches", "one batch"])
def test_ac_47_the_window_counts_its_last_second(
    news: SimpleNamespace, seconds: int, rows: int, together: bool
) -> None:
    """Sixty seconds: what happened 59 and 60 s before is one with it, 61 s is not."""
    older = act(news.ada, "read", news.articles[0], ago=100)
    newer = act(news.ada, "read", news.articles[0], ago=100 - seconds, delay=60)

    for messages in [[[older], [newer]]] if together else [[[older]], [[newer]]]:
        deliver(messages)

    assert len(stored()) == rows
    assert stored()[0]["timestamp"] == NOW - timedelta(seconds=100)


def test_ac_47_data_is_merged_with_what_is_stored_not_replaced(news: SimpleNamespace) -> None:
    """What is stored wins; the level is the higher one."""
    one = news.articles[0]
    send(act(news.ada, "read", one, ago=9, data={"a": 1, "b": 1, "l": [1], "d": {"x": 1}}, level=30))
    send(act(news.ada, "read", one, delay=60, data={"a": 2, "c": 3, "l": [1, 2], "d": {"y": 2}}, level=40))

    (row,) = stored()
    assert row["data"] == {"a": 1, "b": 1, "c": 3, "l": [1, 2], "d": {"x": 1, "y": 2}}
    assert row["level"] == 40


def test_ac_09_a_target_that_is_grouped_in_stands_beside_the_older_ones_in_their_order(news: SimpleNamespace) -> None:
    """Related objects are equal, so targets are united; nothing is there twice."""
    first, second, third, _ = news.articles
    send(act(news.ada, "tagged", second, ago=9, related=news.topics[:1]))
    send(act(news.ada, "tagged", first, second, ago=5, delay=60, related=news.topics[:1]))
    send(act(news.ada, "tagged", third, delay=60, related=news.topics[:1]))

    entries = ActionObject.objects.filter(role="t").order_by("id").values_list("object_id", flat=True)
    assert list(entries) == [str(second.pk), str(first.pk), str(third.pk)]
    assert len(stored()) == 1


def test_the_delay_of_the_newer_action_counts_else_the_settings(news: SimpleNamespace, settings: Any) -> None:
    """-1 is off, 0 never looks at what is stored; another actor or verb is never one with it."""
    one = news.articles[0]
    settings.FOOTFALL = {**settings.FOOTFALL, "GROUPING_DELAY": 60}
    send(act(news.ada, "read", one, ago=50, delay=-1))
    for delay in (0, -1):
        send(act(news.ada, "read", one, ago=40, delay=delay))
    assert len(stored()) == 3

    send(act(news.ada, "read", one, ago=30))
    assert len(stored()) == 3
    send(act(news.bob, "read", one, ago=20), act(news.ada, "wrote", one, ago=10))
    assert len(stored()) == 5


def test_a_delay_longer_than_time_itself_is_no_error(news: SimpleNamespace) -> None:
    send(act(news.ada, "read", news.articles[0], ago=86_400 * 365))

    assert send(act(news.ada, "read", news.articles[0], delay=2**63 - 1)) == Totals(applied=1)
    assert len(stored()) == 1


def test_the_look_up_reaches_as_far_as_any_action_of_the_batch(news: SimpleNamespace) -> None:
    """The first one's window is the wider one, the last one's is the later one."""
    one, two, *_ = news.articles
    send(act(news.ada, "read", one, ago=60))
    send(act(news.ada, "read", one, ago=30, delay=60), act(news.ada, "read", two, ago=10, delay=20))

    assert [row["targets"] for row in stored()] == [[str(one.pk)], [str(two.pk)]]


def test_ac_51_actions_without_an_actor_are_grouped_too(news: SimpleNamespace) -> None:
    send(act(None, "rained", news.articles[0], ago=5, delay=60))
    send(act(None, "rained", news.articles[0], delay=60), act(news.ada, "rained", news.articles[0], delay=60))

    assert [row["actor"] for row in stored()] == ["", str(news.ada.pk)]


def test_a_class_is_an_object_like_others(news: SimpleNamespace) -> None:
    """It is no actor that is missing, and no target that is missing."""
    whole = {"type": "newsroom.article"}
    for seconds in (5, 0):
        event = act(None, "closed", ago=seconds, delay=60) | {"actor": whole, "targets": [whole]}
        send(event)

    assert list(ActionObject.objects.values_list("role", "object_type", "object_id")) == [
        ("a", "newsroom.article", ""),
        ("t", "newsroom.article", ""),
    ]


def test_ac_48_empty_sides_make_no_two_stored_actions_similar(news: SimpleNamespace) -> None:
    """Created three things: three actions; logged in twice: one."""
    for article in news.articles[:3]:
        send(act(news.ada, "created", article, ago=9, delay=60))
    send(act(news.ada, "logged in", ago=5, delay=60))
    send(act(news.ada, "logged in", delay=60))

    assert sorted(verbs()) == ["created", "created", "created", "logged in"]


def test_the_newest_of_several_is_asked_first(news: SimpleNamespace) -> None:
    """And only until one agrees."""
    asked = []

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            asked.append(older.data["n"])
            return bool(older.data["n"] == 1)

    for number in range(4):
        send(act(news.ada, "noted", ago=9 - number, data={"n": number}))
    send(act(news.ada, "noted", delay=60, data={"n": 4}))

    assert asked == [3, 2, 1]
    assert [row["data"]["n"] for row in stored()] == [0, 1, 2, 3]


@pytest.mark.parametrize("together", [False, True], ids=["two batches", "one batch"])
def test_of_several_of_the_same_time_that_with_the_greatest_id_is_asked_first(
    news: SimpleNamespace, together: bool
) -> None:
    """Stored rows know no order of arrival, so drafts of a batch have none either."""

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            return bool(newer.data["n"] == 9)

    ids = sorted((seven(NOW) for _ in range(3)), reverse=True)
    events = [act(news.ada, "noted", delay=60, data={"n": n, f"_{n}": n}, id=key) for n, key in enumerate(ids)]
    events.append(act(news.ada, "noted", delay=60, data={"n": 9, "last": True}))
    for messages in [[[event] for event in events]] if together else [[[event]] for event in events]:
        deliver(messages)

    assert [row["data"]["n"] for row in stored() if "last" in row["data"]] == [0]


def test_no_more_than_one_event_may_say_is_grouped(news: SimpleNamespace) -> None:
    """A thousand targets, or related objects; what is more is an action of its own, and the next one joins that."""
    refs = [{"type": "newsroom.article", "id": str(n)} for n in range(1, MAX_REFS + 6)]
    topic = {"related": news.topics[:1]}
    send(act(news.ada, "tagged", ago=9, **topic) | {"targets": refs[: MAX_REFS - 1]})
    send(act(news.ada, "tagged", ago=8, delay=60, **topic) | {"targets": refs[:MAX_REFS]})
    send(act(news.ada, "tagged", ago=7, delay=60, **topic) | {"targets": refs[MAX_REFS - 1 :]})
    send(act(news.ada, "tagged", ago=6, delay=60, **topic) | {"targets": refs[MAX_REFS:]})

    assert [len(row["targets"]) for row in stored()] == [MAX_REFS, 6]

    for ago, related in ((5, refs[: MAX_REFS - 1]), (4, refs[MAX_REFS - 1 :])):
        send(act(news.ada, "cited", news.articles[0], ago=ago, delay=60) | {"related": related})
    assert [len(row["related"]) for row in stored() if row["verb"] == "cited"] == [MAX_REFS - 1, 6]


def test_data_that_grew_as_large_as_an_event_may_be_grows_no_more(news: SimpleNamespace, settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_EVENT_BYTES": 1000}
    for number in range(3):
        send(act(news.ada, "read", news.articles[0], ago=9 - number, delay=60, data={str(number): "x" * 400}))

    assert [sorted(row["data"]) for row in stored()] == [["0", "1"], ["2"]]


# -- Unread again


def test_ac_49_a_target_that_is_grouped_in_renews_and_a_repeat_does_not(news: SimpleNamespace) -> None:
    """`changed` rises with the commit, `renewed` is the time of what brought the target."""
    one, two, *_ = news.articles
    topic = {"related": news.topics[:1]}
    send(act(news.ada, "tagged", one, ago=50, delay=60, **topic))
    first = Action.objects.get()
    assert (first.timestamp, first.renewed) == (NOW - timedelta(seconds=50),) * 2

    send(act(news.ada, "tagged", one, ago=40, delay=60, **topic))
    repeated = Action.objects.get()
    assert (repeated.renewed, repeated.changed) == (first.renewed, first.changed)

    send(act(news.ada, "tagged", one, ago=35, delay=60, level=40, **topic))
    raised = Action.objects.get()
    assert (raised.level, raised.renewed, raised.changed) == (40, first.renewed, first.changed)

    send(act(news.ada, "tagged", two, ago=30, delay=60, **topic))
    grown = Action.objects.get()
    assert grown.timestamp == first.timestamp
    assert grown.renewed == NOW - timedelta(seconds=30)
    assert grown.changed > first.changed
    assert grown.changed == ActionStamp.objects.get().at

    send(act(news.ada, "tagged", two, ago=20, delay=60, level=50, **topic))
    raised = Action.objects.get()
    assert (raised.level, raised.renewed, raised.changed) == (50, grown.renewed, grown.changed)
    assert len(stored()) == 1


def test_what_was_grouped_before_it_was_stored_was_renewed_by_its_last_object(news: SimpleNamespace) -> None:
    one, two, *_ = news.articles
    topic = {"related": news.topics[:1]}
    events = [act(news.ada, "tagged", target, ago=ago, **topic) for target, ago in [(one, 9), (two, 5), (one, 1)]]
    send(*unit_of(*events))

    (row,) = stored()
    assert (row["timestamp"], row["renewed"]) == (NOW - timedelta(seconds=9), NOW - timedelta(seconds=5))


def test_the_stamp_rises_though_the_clock_does_not(news: SimpleNamespace) -> None:
    """Also where the row is missing, and where another host's clock is ahead."""
    ActionStamp.objects.all().delete()
    send(act(news.ada, "read"))
    ahead = NOW + timedelta(days=36_500)
    ActionStamp.objects.update(at=ahead)
    send(act(news.ada, "wrote"))

    assert Action.objects.get(verb="wrote").changed == ahead + timedelta(microseconds=1)
    assert ActionStamp.objects.get().at == ahead + timedelta(microseconds=1)


# -- Units of work


def test_ac_08_what_is_combined_is_grouped_afterwards(news: SimpleNamespace) -> None:
    """First all of a unit is combined; then what is left is grouped, so that a third sees what two became."""

    class Edited(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(own: Draft, other: Draft) -> bool:
            return True

    one, two, *_ = news.articles
    send(act(news.ada, "created", one, two, ago=30, delay=60))
    send(
        *unit_of(
            act(news.ada, "created", one, two, ago=9, delay=60),
            act(news.ada, "wrote", ago=8),
            act(news.ada, "edited", one, ago=7, delay=60, level=40),
        )
    )

    assert [(row["verb"], row["level"]) for row in stored()] == [("created", 40), ("wrote", 30)]


def test_ac_01_combining_needs_the_same_actor_and_a_subset_of_the_targets(news: SimpleNamespace) -> None:
    """Empty targets are a subset of any; the merge keeps the survivor's time and data."""

    class Edited(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(own: Draft, other: Draft) -> bool:
            return (own.verb, other.verb) == ("edited", "created")

    one, two, *_ = news.articles
    send(
        *unit_of(
            act(news.ada, "created", one, ago=9, data={"x": 1}),
            act(news.ada, "edited", ago=8, data={"x": 2, "y": 3}, related=news.topics),
            act(news.ada, "edited", one, two, ago=7),
            act(news.bob, "edited", one, ago=6),
        )
    )

    assert [(row["verb"], row["actor"]) for row in stored()] == [
        ("created", str(news.ada.pk)),
        ("edited", str(news.ada.pk)),
        ("edited", str(news.bob.pk)),
    ]
    assert stored()[0]["data"] == {"x": 1, "y": 3}
    assert stored()[0]["timestamp"] == NOW - timedelta(seconds=9)
    assert stored()[0]["related"] == ["django", "python"]


def test_ac_09_unit_mates_are_grouped_whatever_the_time_between_them(news: SimpleNamespace) -> None:
    """With a delay too; -1 never."""
    one = news.articles[0]
    day = 86_400
    send(*unit_of(act(news.ada, "read", one, ago=9 * day), act(news.ada, "read", one, delay=60)))
    send(*unit_of(act(news.ada, "saw", one, ago=9 * day), act(news.ada, "saw", one, delay=-1)))

    assert sorted(verbs()) == ["read", "saw", "saw"]


def test_a_mate_that_went_into_a_stored_action_is_a_mate_still(news: SimpleNamespace) -> None:
    """The third doesn't look at what is stored; it is one with the second, wherever that is now."""
    first, second, third, _ = news.articles
    topic = {"related": news.topics[:1]}
    send(act(news.ada, "read", first, ago=50, **topic))
    send(
        *unit_of(
            act(news.ada, "read", second, ago=10, delay=60, **topic), act(news.ada, "read", third, delay=0, **topic)
        )
    )

    assert [row["targets"] for row in stored()] == [sorted(str(one.pk) for one in (first, second, third))]


def test_a_mate_that_is_in_the_window_too_is_asked_for_once(news: SimpleNamespace) -> None:
    asked = []

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            asked.append((newer.data["n"], older.data["n"]))
            return False

    events = [act(news.ada, "noted", ago=90 - 40 * n, delay=60, data={"n": n}) for n in range(3)]
    send(*unit_of(*events))

    assert asked == [(1, 0), (2, 1), (2, 0)]


def test_only_what_may_be_combined_is_counted_among_those_that_are_looked_at(news: SimpleNamespace) -> None:
    """However many of other actors, and of verbs without a hook, stand between the two."""

    class Edited(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(own: Draft, other: Draft) -> bool:
            return True

    one = news.articles[0]
    between = [
        act(who, verb, one, ago=45, delay=-1)
        for who, verb in [(news.ada, "read"), (news.bob, "created")]
        for _ in range(joining.LOOK_BACK)
    ]
    send(*unit_of(act(news.ada, "created", one, ago=50), *between, act(news.ada, "edited", one, ago=40)))

    assert "edited" not in verbs()
    assert len(verbs()) == 1 + len(between)


def test_units_of_different_messages_are_never_one(news: SimpleNamespace) -> None:
    """Whatever they are called."""
    unit = str(uuid.uuid4())
    read = [unit_of(act(news.ada, "read", news.articles[0], ago=ago), unit=unit) for ago in (9, 0)]

    assert deliver(read).applied == 2
    assert len(stored()) == 2


# -- Any split


class Edited(ActionHandler):
    @staticmethod
    def combine_with_created(own: Draft, other: Draft) -> bool:
        return True


class Created(ActionHandler):
    @staticmethod
    def combine_with_drafted(own: Draft, other: Draft) -> bool:
        return bool(other.targets)


class Watched(ActionHandler):
    @classmethod
    def group(cls, newer: Draft, older: Draft) -> bool:
        return newer.level >= older.level


@pytest.fixture
def _site(_handlers: None) -> None:
    """A site with handlers that combine, and one that groups by a rule of its own."""
    action_handlers._handlers.update({"edited": Edited, "created": Created, "watched": Watched})


acts = st.tuples(
    st.sampled_from([None, "ada", "bob"]),
    st.sampled_from(["drafted", "created", "edited", "watched", "read"]),
    st.sets(st.integers(0, 2), max_size=2),
    st.sets(st.integers(0, 1), max_size=1),
    st.sampled_from([30, 40]),
    st.sampled_from([-1, 0, 20, 60]),
    st.sampled_from([0, 0.0004, 1, 15, 40]),
    st.dictionaries(st.sampled_from("ab"), st.one_of(st.integers(0, 2), st.lists(st.integers(0, 2), max_size=2))),
)
units = st.lists(st.tuples(st.booleans(), st.lists(acts, min_size=1, max_size=4)), min_size=1, max_size=8)


def a_history(news: SimpleNamespace, drawn: Any) -> list[list[wire.Event]]:
    """Units of work in the order of their times."""
    chance, seconds, history = random.Random(5), 10_000.0, []
    for together, some in drawn:
        events = []
        for who, verb, targets, related, level, delay, gap, data in some:
            seconds -= gap
            about = [news.articles[n] for n in sorted(targets)]
            event = act(
                who and getattr(news, who),
                verb,
                *about,
                ago=seconds,
                delay=delay,
                level=level,
                data=data,
                related=[news.topics[n] for n in sorted(related)],
                id=seven(NOW - timedelta(seconds=seconds), chance),
            )
            events.append(event)
        history.append(unit_of(*events) if together else events)
    return history


@pytest.mark.usefixtures("_site")
@pytest.mark.parametrize("look_back", [2, 100])
@in_any_case
@given(drawn=units, seed=st.integers(0, 2**32))
def test_any_split_into_messages_and_batches_gives_the_same_rows(
    news: SimpleNamespace, look_back: int, drawn: Any, seed: int
) -> None:
    """Where actions come in the order of their times: ids, times, data, targets, all of it."""
    history = a_history(news, drawn)
    chance = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(joining, "LOOK_BACK", look_back)
        patch.setattr(storedactions, "LOOK_BACK", look_back)
        with rolled_back():
            send(*(event for unit in history for event in unit))
            at_once = stored()
        with rolled_back():
            for unit in history:
                send(*unit)
            one_by_one = stored()
        with rolled_back():
            for batch in cut(cut(history, chance), chance):
                deliver([[event for unit in message for event in unit] for message in batch])
            in_between = stored()
        assert not DeadLetter.objects.exists()
    assert one_by_one == at_once
    assert in_between == at_once


def cut(items: Sequence[Any], chance: random.Random) -> list[list[Any]]:
    """``items`` in order, in pieces of any size."""
    pieces: list[list[Any]] = [[]]
    for item in items:
        if pieces[-1] and chance.random() < 0.4:
            pieces.append([])
        pieces[-1].append(item)
    return pieces


# -- Any order


@in_any_case
@given(
    drawn=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1), st.sampled_from([0.0003, 1, 4])), max_size=30),
    seed=st.integers(0, 2**32),
)
def test_in_any_order_no_target_is_lost_or_doubled_and_the_number_of_rows_is_the_same(
    news: SimpleNamespace, drawn: Any, seed: int
) -> None:
    """All within the window: what merely comes late is one with what was published after it."""
    chance, seconds, events = random.Random(seed), 1000.0, []
    for number, (who, topic, gap) in enumerate(drawn):
        seconds -= gap
        event = act(
            (news.ada, news.bob)[who],
            "tagged",
            ago=seconds,
            delay=1000,
            related=[news.topics[topic]],
            data={"first": number},
        )
        events.append(event | {"targets": [{"type": "newsroom.article", "id": str(number + 1)}]})
    with rolled_back():
        send(*events)
        in_order = stored()
    chance.shuffle(events)
    with rolled_back():
        for batch in cut(cut(events, chance), chance):
            deliver(batch)
        shuffled = stored()
    strip = {"id", "renewed"}
    first = [[{k: v for k, v in row.items() if k not in strip} for row in rows] for rows in (in_order, shuffled)]
    assert sorted(first[1], key=repr) == sorted(first[0], key=repr)


def test_what_is_late_gives_its_time_and_data_to_what_was_published_after_it(news: SimpleNamespace) -> None:
    """The row stays the one that it was."""
    one, two, *_ = news.articles
    topic = {"related": news.topics[:1]}
    early = act(news.ada, "tagged", one, ago=20, delay=60, data={"a": "early", "b": 1}, **topic)
    later = act(news.ada, "tagged", two, ago=10, delay=60, data={"a": "later", "c": 2}, **topic)

    send(later)
    changed = Action.objects.get().changed
    send(early)

    (row,) = stored()
    assert row["id"] == later["id"]
    assert row["timestamp"] == NOW - timedelta(seconds=20)
    assert row["renewed"] == NOW - timedelta(seconds=10)
    assert row["data"] == {"a": "early", "b": 1, "c": 2}
    assert row["targets"] == sorted([str(one.pk), str(two.pk)])
    assert Action.objects.get().changed > changed


@pytest.mark.parametrize(
    ("published", "version", "rows"),
    [(20, 7, 1), (5, 7, 2), (20, 4, 2)],
    ids=["late", "back-dated", "by a program of which nobody can tell"],
)
def test_what_is_dated_back_is_not_grouped_with_what_is_later(
    news: SimpleNamespace, published: float, version: int, rows: int
) -> None:
    one = news.articles[0]
    ids = {7: seven(NOW - timedelta(seconds=published)), 4: str(uuid.uuid4())}
    send(act(news.ada, "read", one, ago=10, delay=60))
    send(act(news.ada, "read", one, ago=20, delay=60, id=ids[version]))

    assert len(stored()) == rows


@pytest.mark.parametrize(("apart", "rows"), [(0.001, 1), (5, 2)], ids=["late", "dated ahead"])
def test_of_two_of_one_millisecond_the_times_decide_if_they_are_near(
    news: SimpleNamespace, apart: float, rows: int
) -> None:
    """An id is made a moment after the time was taken; what was dated ahead was published no later."""
    one, at = news.articles[0], NOW - timedelta(seconds=20)
    send(act(news.ada, "read", one, ago=20 - apart, delay=60, id=seven(at)))
    send(act(news.ada, "read", one, ago=20, delay=60, id=seven(at)))

    assert len(stored()) == rows


def test_what_is_late_is_held_against_no_more_than_others_are(
    news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "LOOK_BACK", 2)
    asked = []

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            asked.append((newer.data["n"], older.data["n"]))
            return False

    later = [act(news.ada, "noted", ago=9 - n, delay=-1, data={"n": n}) for n in range(1, 5)]
    send(*later, act(news.ada, "noted", ago=9, delay=60, data={"n": 0}))

    assert asked == [(1, 0), (2, 0)]


def test_what_is_late_is_asked_for_as_the_older_of_two(news: SimpleNamespace) -> None:
    """And the window is counted from the newer one."""
    asked = []

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            asked.append((newer.data["n"], older.data["n"]))
            return False

    send(act(news.ada, "noted", ago=10, data={"n": 10}))
    send(act(news.ada, "noted", ago=70, delay=60, data={"n": 70}))
    send(act(news.ada, "noted", ago=71, delay=60, data={"n": 71}))

    assert asked == [(10, 70), (70, 71)]


# -- Handlers that fail, or do too much


def test_ac_50_a_handler_that_raises_over_a_stored_action_buries_one_event(news: SimpleNamespace) -> None:
    """Its neighbours, of its unit and of others, are applied; what is stored stays as it was."""

    class Broken(ActionHandler):
        verb = "broke"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            older.targets.clear()
            older.data["spoiled"] = True
            if newer.data.get("bad"):
                raise KeyError("no such thing")
            return False

    one = news.articles[0]
    send(act(news.ada, "broke", one, ago=30, data={"n": 0}))
    came_to = deliver(
        [
            unit_of(act(news.ada, "read", one, ago=9), act(news.ada, "broke", one, ago=8, delay=60, data={"bad": 1})),
            [act(news.ada, "broke", one, ago=7, delay=-1), act(news.ada, "read", one, ago=6, delay=60)],
        ]
    )

    assert came_to == Totals(applied=3, dead=1)
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.position, letter.error) == ("handler_error", 1, "KeyError: 'no such thing'")
    assert verbs() == ["broke", "read", "broke"]
    assert (stored()[0]["data"], stored()[0]["targets"]) == ({"n": 0}, [str(one.pk)])


def test_a_handler_that_changes_its_drafts_spoils_no_second_try(news: SimpleNamespace) -> None:
    """Each try begins with drafts of its own, data and all."""

    class Counting(ActionHandler):
        verb = "counted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            newer.data["tries"].append(len(newer.data["tries"]))
            if newer.data.get("bad"):
                raise KeyError("no such thing")
            return False

    events = [act(news.ada, "counted", ago=9 - n, data={"tries": []}) for n in range(3)]
    events.append(act(news.ada, "counted", data={"tries": [], "bad": 1}))

    assert send(*unit_of(*events)) == Totals(applied=3, dead=1)
    assert [row["data"]["tries"] for row in stored()] == [[], [0], [0, 1]]


@pytest.mark.parametrize("together", [False, True], ids=["three batches", "one batch"])
def test_a_handler_can_not_change_who_did_what_when(news: SimpleNamespace, together: bool) -> None:
    """What it writes there is undone: else the order in which actions are looked at would be another."""

    class Moving(ActionHandler):
        verb = "moved"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            older.timestamp = newer.timestamp
            older.verb, newer.actor = "gone", None
            return True

    events = [act(news.ada, "moved", news.articles[n], ago=100 - 50 * n, delay=60) for n in range(3)]
    late = act(news.ada, "moved", news.articles[3], ago=110, delay=60)
    for messages in [[events, [late]]] if together else [[[one]] for one in (*events, late)]:
        deliver(messages)

    assert [(row["verb"], len(row["targets"])) for row in stored()] == [("moved", 3), ("moved", 1)]
    assert stored()[0]["timestamp"] == NOW - timedelta(seconds=110)
    assert not DeadLetter.objects.exists()


def test_a_handler_may_fill_the_data_of_a_stored_action(news: SimpleNamespace) -> None:
    """In place, too."""

    class Counting(ActionHandler):
        verb = "counted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            older.data["of"].append(newer.level)
            return True

    send(act(news.ada, "counted", ago=9, data={"of": []}))
    send(act(news.ada, "counted", delay=60, level=30))

    assert [row["data"] for row in stored()] == [{"of": [30]}]


def test_an_outage_while_grouping_with_what_is_stored_is_no_dead_letter(news: SimpleNamespace) -> None:
    class Asking(ActionHandler):
        verb = "asked"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            raise OperationalError("server closed the connection unexpectedly")

    send(act(news.ada, "asked", ago=9))
    with pytest.raises(Transient):
        send(act(news.ada, "asked", delay=60))
    assert not DeadLetter.objects.exists()


def test_an_action_that_is_deleted_meanwhile_is_tried_again(
    news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written then: what went into it would be lost."""
    one = news.articles[0]
    send(act(news.ada, "read", one, ago=9))
    group = joining.group

    def delete_and_group(*args: Any) -> Any:
        Action.objects.all().delete()
        return group(*args)

    with monkeypatch.context() as patch:
        patch.setattr(joining, "group", delete_and_group)
        with pytest.raises(Transient):
            send(act(news.ada, "read", one, level=40, delay=60))
    assert not DeadLetter.objects.exists()


# -- The objects, for a handler that asks


def test_a_handler_may_load_the_objects_of_all_drafts_together(news: SimpleNamespace) -> None:
    """One query per model, however many actions ask; what was deleted is what is left of it, or nothing."""
    page, gone = Page.objects.create(title="About"), Topic.objects.create(slug="gone")
    seen = []

    class Curious(ActionHandler):
        verb = "looked"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            seen.append((newer.load_actor(), newer.load_targets(), older.load_targets(), newer.load_related()))
            return False

    refs = [wire.ref(gone), {"type": "newsroom.topic", "id": "never"}, {"type": "newsroom.topic"}]
    gone.delete()
    DeletedItem.objects.update_or_create(
        object_type="newsroom.topic", object_id="gone", defaults={"description": "a topic that is no more"}
    )
    events = [
        act(news.ada, "looked", article, page, ago=9 - n) | {"related": refs} for n, article in enumerate(news.articles)
    ]
    events.append(act(None, "looked"))
    with CaptureQueriesContext(connection) as asked:
        assert send(*unit_of(*events)).applied == 5

    assert seen[0][0] == news.ada
    assert seen[0][1:3] == ([news.articles[1], page], [news.articles[0], page])
    assert [str(one) for one in seen[0][3][:1]] == ["a topic that is no more"] and seen[0][3][1:] == [Topic]
    # The actorless one is grouped with none of the others, and would load nothing.
    assert len(seen) == 6
    newsroom = [q["sql"] for q in asked if 'FROM "newsroom_' in q["sql"] or 'FROM "auth_user"' in q["sql"]]
    assert len(newsroom) == 4  # users, articles, pages, topics


def test_the_objects_of_stored_actions_are_loaded_together_too(news: SimpleNamespace) -> None:
    class Curious(ActionHandler):
        verb = "looked"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            assert newer.load_targets() != older.load_targets()
            return False

    send(*(act(news.ada, "looked", one, ago=9 - n) for n, one in enumerate(news.articles[1:])))
    with CaptureQueriesContext(connection) as asked:
        assert send(act(news.ada, "looked", news.articles[0], delay=60)).applied == 1

    assert sum('FROM "newsroom_article"' in q["sql"] for q in asked) == 1


def test_a_draft_of_its_own_loads_what_it_is_about(news: SimpleNamespace) -> None:
    """In a test of a handler there is no batch."""
    refs = [Ref("newsroom.article", str(one.pk)) for one in news.articles[:2]]
    draft = Draft(uuid.uuid4(), None, "read", NOW, 30, targets=refs)

    assert draft.load_targets() == news.articles[:2]
    assert draft.load_actor() is None
    assert draft.load_related() == []


# -- How much it asks of the database


@pytest.mark.parametrize("delay", [-1, 0, 60])
def test_the_number_of_statements_does_not_grow_with_the_number_of_actions(news: SimpleNamespace, delay: int) -> None:
    """Ten, a hundred, a thousand actions with three targets each, when they are new and when they go into others.

    But for the look-up: that is one for each fifty actors and verbs, so that what it brings is bounded.
    """
    counts = set()
    for number in (10, 100, 1000):
        for related, ago in ((0, 9), (1, 5)):
            events = [
                act(user, "tagged", ago=ago, delay=delay, related=news.topics[:1])
                | {"targets": [{"type": "newsroom.article", "id": str(3 * n + k + 7 * related)} for k in (1, 2, 3)]}
                for n in range(number)
                for user in [User(pk=1000 * number + n)]
            ]
            body = wire.body(events, ACTIONS)
            with CaptureQueriesContext(connection) as asked:
                assert apply([Delivery(body, ACTIONS)], now=NOW).applied == number
            look_ups = sum("held.entries" in q["sql"] or "json_group_array" in q["sql"] for q in asked)
            assert look_ups == (-(-number // SLICE) if delay > 0 else 0)
            counts.add((related if delay > 0 else 0, len(asked) - look_ups))
    assert len(counts) == (2 if delay > 0 else 1)
    assert max(count for _, count in counts) <= 15
    assert Action.objects.count() == (1110 if delay > 0 else 2220)


def test_nothing_is_looked_up_without_a_delay_and_nothing_is_locked_without_actions(news: SimpleNamespace) -> None:
    with CaptureQueriesContext(connection) as asked:
        send(act(news.ada, "read"), act(news.ada, "read", delay=0))
        assert sum("ctionobject" in q["sql"] and "SELECT" in q["sql"] for q in asked) == 0
    with CaptureQueriesContext(connection) as asked:
        send(wire.hit("home"))
        assert sum("actionstamp" in q["sql"] for q in asked) == 0


def test_a_pure_repeat_writes_no_row(news: SimpleNamespace) -> None:
    send(act(news.ada, "read", news.articles[0], ago=9))
    with CaptureQueriesContext(connection) as asked:
        send(act(news.ada, "read", news.articles[0], delay=60))

    written = [q["sql"] for q in asked if q["sql"].startswith(("INSERT", "UPDATE"))]
    assert not [sql for sql in written if "_action" in sql and "_actionstamp" not in sql]


def test_the_look_up_is_one_statement_by_the_index(news: SimpleNamespace) -> None:
    """For as many actors and verbs as there are: neither table is read from one end to the other."""
    rng = random.Random(1)
    actions = [
        Action(
            id=uuid.UUID(seven(NOW, rng)),
            actor_type="auth.user",
            actor_id=str(n % 500),
            verb="tagged" if n % 2 else "read",
            timestamp=NOW - timedelta(seconds=n),
        )
        for n in range(10_000)
    ]
    Action.objects.bulk_create(actions)
    ActionObject.objects.bulk_create(
        ActionObject(action=action, role="t", object_type="newsroom.article", object_id=str(n % 97))
        for n, action in enumerate(actions)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    windows: dict[joining.Key, tuple[datetime, datetime]] = {
        (Ref("auth.user", str(n)), verb): (NOW - timedelta(days=1), NOW)
        for n in range(100)
        for verb in ("tagged", "read")
    }
    sql, parameters = storedactions.statement(windows, "default")
    explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    with connection.cursor() as cursor:
        cursor.execute(explain + sql, parameters)
        plan = "\n".join(str(row[-1]) for row in cursor.fetchall())

    assert "footfall_action_group" in plan
    assert "Seq Scan" not in plan
    assert not [
        line
        for line in plan.splitlines()
        if line.startswith("SCAN") and line.split()[1] not in ("wanted", "last", "row")
    ]
    with CaptureQueriesContext(connection) as asked:
        found = storedactions.look_up(windows, "default")
    assert len(asked) == 1
    assert len(found) == 100 * 20
    assert all(len(one.draft.targets) == 1 for one in found)


def test_of_very_many_stored_actions_the_last_hundred_are_looked_at(news: SimpleNamespace) -> None:
    Action.objects.bulk_create(
        Action(id=uuid.uuid4(), verb="read", timestamp=NOW - timedelta(seconds=n)) for n in range(300)
    )
    found = storedactions.look_up({(None, "read"): (NOW - timedelta(days=1), NOW)}, "default")

    assert sorted(one.draft.timestamp for one in found)[0] == NOW - timedelta(seconds=99)
    assert len(found) == 100


def test_of_stored_actions_with_many_objects_only_the_last_are_looked_at(news: SimpleNamespace) -> None:
    """As many as hold so many objects together, all of them whole; for one actor and verb as for another."""
    refs = [{"type": "newsroom.article", "id": str(n)} for n in range(MAX_REFS)]
    for who in (news.ada, news.bob):
        events = [act(who, "listed", ago=n, delay=-1) | {"targets": refs[: MAX_REFS - n]} for n in range(8)]
        assert send(*events).applied == 8
    windows: Any = {
        (Ref("auth.user", str(who.pk)), "listed"): (NOW - timedelta(days=1), NOW) for who in (news.ada, news.bob)
    }

    found = storedactions.look_up(windows, "default")

    # 1000 + 999 + 998 + 997 + 996 are fewer than 5,000, and the next would be too many.
    assert sorted(len(one.draft.targets) for one in found) == [n for n in range(996, 1001) for _ in range(2)]


@pytest.mark.parametrize("together", [False, True], ids=["batches", "one batch"])
def test_an_action_is_held_against_as_few_of_its_batch_as_of_those_that_are_stored(
    news: SimpleNamespace, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three objects each, where six are the most; an action with more than all is held against none."""
    monkeypatch.setattr(joining, "OBJECTS", 6)
    monkeypatch.setattr(storedactions, "OBJECTS", 6)
    asked = []

    class Noting(ActionHandler):
        verb = "noted"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            asked.append((newer.data["n"], older.data["n"]))
            return False

    events = [
        act(news.ada, "noted", *news.articles[:2], ago=9 - n, delay=60, data={"n": n}, related=news.topics[:1])
        for n in range(5)
    ]
    for messages in [[events]] if together else [[[event]] for event in events]:
        deliver(messages)

    assert asked == [(1, 0), (2, 1), (2, 0), (3, 2), (3, 1), (4, 3), (4, 2)]


def test_batches_of_many_actors_are_joined_as_small_ones_are(
    news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slice after slice of actors and verbs, each with what is stored of it."""
    monkeypatch.setattr(actions, "SLICE", 3)
    users = [User(pk=n) for n in range(1, 11)]
    for ago in (9, 5):
        assert send(*(act(user, "read", news.articles[0], ago=ago, delay=60) for user in users * 2)).applied == 20

    assert sorted(int(row["actor"]) for row in stored()) == list(range(1, 11))
    assert {row["timestamp"] for row in stored()} == {NOW - timedelta(seconds=9)}


# -- Data


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text("ab", max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=12,
)


@given(kept=json_values, other=json_values)
def test_merging_data_keeps_what_is_there_and_repeats_nothing(kept: Any, other: Any) -> None:
    together = merged(kept, other)

    assert merged(together, other) == together
    assert merged(kept, kept) == kept
    if isinstance(kept, dict) and isinstance(other, dict):
        assert together.keys() == kept.keys() | other.keys()
    elif isinstance(kept, list) and isinstance(other, list):
        assert together[: len(kept)] == kept
        assert all(item in together for item in other)
    else:
        assert together == kept


@pytest.mark.parametrize("item", [1e16, [1e16], {"x": [1.0, 1e16]}, [[True]], [[1]]])
def test_an_item_that_the_database_writes_in_another_way_is_the_same(news: SimpleNamespace, item: Any) -> None:
    """PostgreSQL makes an integer of 1e16; true is no number anywhere."""
    send(act(news.ada, "read", news.articles[0], ago=9, data={"l": [item]}))
    send(act(news.ada, "read", news.articles[0], delay=60, data={"l": [item]}))

    assert [row["data"] for row in stored()] == [{"l": [item]}]
    assert merged([[1]], [[True]]) == [[1], [True]]


def test_lists_of_many_items_are_merged_in_a_bounded_time() -> None:
    """Each item is looked up; compared with all the others they would be billions of comparisons."""
    kept = [[number] for number in range(60_000)]
    assert len(merged(kept, [[number] for number in range(30_000, 90_000)])) == 90_000


def test_rows_are_written_in_the_order_of_their_ids() -> None:
    """So that two who change the same ones never wait in a circle."""
    drafts = [Draft(uuid.uuid4(), Ref("auth.user", "1"), "read", NOW, 30) for _ in range(20)]
    actionrows.write([joining.Candidate(draft) for draft in drafts], [], NOW, "default")

    written = list(ActionObject.objects.order_by("id").values_list("action_id", flat=True))
    assert written == sorted(draft.id for draft in drafts)


def test_ac_53_an_action_about_an_object_that_took_its_actions_along_comes_too_late(news: SimpleNamespace) -> None:
    """As target, related object or actor: it is left out as gone, and of others actions are kept all the same."""
    note = Note.objects.create(title="personal")
    there = Note.objects.create(title="there")
    events = [
        act(news.ada, "wrote", note, news.articles[0]),
        act(news.ada, "quoted", news.articles[0], related=[note]),
        act(note, "was moved"),
        act(news.ada, "wrote", there),
        act(news.ada, "wrote", news.articles[0]),
    ]
    note.delete()
    news.articles[0].delete()

    totals = apply([Delivery(wire.body(events, ACTIONS), ACTIONS)], now=NOW)

    assert totals == Totals(applied=2, filtered=3)
    assert sorted(Action.objects.values_list("verb", flat=True)) == ["wrote", "wrote"]
