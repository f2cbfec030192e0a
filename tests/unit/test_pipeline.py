"""From bytes to rows on SQLite: everything once, in any order, and every event accounted for."""

import json
import random
import sqlite3
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import wire
from django.contrib.auth.models import User
from django.db import OperationalError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, ArticleDaily, ArticleTotals, Column, Page, Topic
from wire import NOW

from footfall.producers.messages import decode_unit, encode_unit
from footfall.producers.queues import INCREMENTS, VIEWS
from footfall.producers.reasons import Reason
from footfall.spiders.matcher import forget_spiders
from footfall.spiders.models import Spider
from footfall.storage import handlers as action_handlers
from footfall.storage.actions import ActionHandler, Draft
from footfall.storage.models import (
    Action,
    ActionObject,
    AppliedMessage,
    DeadLetter,
    SpiderTally,
    Statistic,
    Tally,
    ViewMark,
)
from footfall.workers.failures import Fault, Transient
from footfall.workers.folding import actions as action_folding
from footfall.workers.folding import views
from footfall.workers.ledger import prune
from footfall.workers.pipeline import Delivery, Totals, apply
from footfall.workers.replay import replay

pytestmark = pytest.mark.django_db

shuffled = settings(
    max_examples=40,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


#: What a shuffle depends on; shrinking it would teach nothing.
seeds = st.integers(0, 2**32)


@pytest.fixture(autouse=True)
def _spiders_anew(db: None) -> Iterator[None]:
    forget_spiders()
    yield
    forget_spiders()


@pytest.fixture
def news(db: None) -> SimpleNamespace:
    """A newsroom: two readers, three articles, a page with a UUID and a topic with a slug."""
    return SimpleNamespace(
        ada=User.objects.create(username="ada"),
        bob=User.objects.create(username="bob"),
        articles=[Article.objects.create(title=f"News {n}") for n in range(3)],
        page=Page.objects.create(title="About"),
        topic=Topic.objects.create(slug="django"),
    )


def send(*events: Any, now: datetime = NOW, **envelope: Any) -> Totals:
    """Apply one message."""
    return deliver(wire.body(events, **envelope), now=now)


def deliver(*bodies: bytes, now: datetime = NOW) -> Totals:
    """Apply a batch of messages."""
    return apply([Delivery(body, INCREMENTS) for body in bodies], now=now)


@contextmanager
def rolled_back() -> Iterator[None]:
    """What is done in the block is undone at its end: an example leaves nothing to the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def marks() -> dict[tuple[int, str, str], datetime]:
    return {(m.user_id, m.object_type, m.object_id): m.at for m in ViewMark.objects.all()}


def totals(field: str = "views") -> dict[str, int]:
    return {f"{row.object_type}:{row.object_id}": getattr(row, field) for row in ArticleTotals.objects.all()}


def labels() -> dict[tuple[Any, ...], int]:
    rows = Statistic.objects.values_list("label", "category", "dom_id", "day", "counter")
    return {row[:4]: row[4] for row in rows}


def letters() -> list[tuple[str, int]]:
    return list(DeadLetter.objects.order_by("message_id", "position").values_list("reason", "position"))


def reasons() -> Counter[str]:
    return Counter(DeadLetter.objects.values_list("reason", flat=True))


def drafts() -> set[tuple[Any, ...]]:
    refs: dict[Any, set[tuple[str, ...]]] = {}
    for one in ActionObject.objects.all():
        refs.setdefault(one.action_id, set()).add((one.role, one.object_type, one.object_id))
    rows = Action.objects.all()
    return {(a.id, a.actor_id, a.verb, a.level, json.dumps(a.data), frozenset(refs.get(a.id, ()))) for a in rows}


def rows() -> dict[str, Any]:
    """All that the events came to."""
    daily = ArticleDaily.objects.values_list("object_id", "collected_during", "views", "clicks")
    return {
        "marks": marks(),
        "totals": set(ArticleTotals.objects.values_list("object_type", "object_id", "views", "score", "peak")),
        "daily": set(daily),
        "labels": labels(),
        "actions": drafts(),
        "spiders": set(SpiderTally.objects.values_list("day", "spider", "count")),
    }


def tally(name: str) -> int:
    return sum(Tally.objects.filter(name=name).values_list("count", flat=True))


def assert_balanced() -> None:
    """For each hour and kind: received = applied + filtered + duplicate + dead."""
    books: dict[tuple[datetime, str], Counter[str]] = {}
    for row in Tally.objects.all():
        books.setdefault((row.hour, row.kind), Counter())[row.name] += row.count
    for counts in books.values():
        ends = counts["applied"] + counts["filtered"] + counts["duplicate"] + counts["dead"]
        assert counts["received"] == ends, books


# -- All kinds, end to end


def test_every_kind_of_event_becomes_its_rows(news: SimpleNamespace) -> None:
    """One message of everything: marks, counters, a series, labels and an action, and the books of it."""
    article = news.articles[0]
    read = wire.action(news.ada, "read", article, related=[wire.ref(news.topic)], data={"page": 1}, level=40)

    came_to = send(
        wire.view(news.ada, article),
        wire.view(news.ada, Page),
        wire.view(news.bob),
        wire.increment(article, value=3),
        wire.increment(article, "clicks", dataset="newsroom.articledaily", value=2),
        wire.increment(news.page, "score", op="decr", value=4),
        wire.increment(article, "peak", op="record_peak", value=9),
        wire.hit("home", "links", "nav"),
        read,
    )

    assert came_to == Totals(applied=9)
    assert marks() == {
        (news.ada.pk, "newsroom.article", str(article.pk)): NOW,
        (news.ada.pk, "newsroom.page", ""): NOW,
        (news.bob.pk, "", ""): NOW,
    }
    assert totals() == {f"newsroom.article:{article.pk}": 3, f"newsroom.page:{news.page.pk}": 0}
    assert totals("score")[f"newsroom.page:{news.page.pk}"] == -4
    assert totals("peak")[f"newsroom.article:{article.pk}"] == 9
    daily = ArticleDaily.objects.get()
    assert (daily.object_id, daily.collected_during, daily.views, daily.clicks) == (str(article.pk), NOW.date(), 0, 2)
    assert labels() == {("home", "links", "nav", NOW.date()): 1}
    stored = Action.objects.get()
    assert (str(stored.pk), stored.verb, stored.level, stored.data) == (read["id"], "read", 40, {"page": 1})
    assert (stored.actor_type, stored.actor_id, stored.timestamp) == ("auth.user", str(news.ada.pk), NOW)
    assert set(ActionObject.objects.values_list("role", "object_type", "object_id")) == {
        ("a", "auth.user", str(news.ada.pk)),
        ("t", "newsroom.article", str(article.pk)),
        ("r", "newsroom.topic", "django"),
    }
    assert AppliedMessage.objects.count() == 1 and not DeadLetter.objects.exists()
    assert [tally(name) for name in ("deliveries", "received", "applied", "dead")] == [1, 9, 9, 0]
    assert_balanced()


def test_a_spool_line_is_applied_like_a_message(news: SimpleNamespace) -> None:
    """The embedded transport brings units, and bodies of other programs beside them."""
    unit_id = uuid.uuid4()
    line = encode_unit(unit_id, [("increment", json.dumps(wire.hit("a")).encode())])
    unit = decode_unit(line)
    deliveries = [Delivery(line, "footfall.spool", unit), Delivery(wire.body([wire.hit("b")]), "footfall.spool")]

    assert apply(deliveries, now=NOW) == Totals(applied=2)
    assert apply(deliveries, now=NOW) == Totals(duplicate=2)
    assert AppliedMessage.objects.filter(pk=unit_id).exists()


def test_nothing_is_a_batch_too() -> None:
    """No deliveries, or a message without events."""
    assert apply([]) == Totals()
    assert send() == Totals()
    assert tally("deliveries") == 1


def test_the_caller_may_write_in_the_same_transaction() -> None:
    """`also` is called once, inside, with the alias; what it raises rolls all of it back."""
    called: list[str] = []

    apply([], also=called.append)
    assert called == ["default"]

    def fail(alias: str) -> None:
        raise OperationalError("server closed the connection")

    with pytest.raises(Transient):
        apply([Delivery(wire.body([wire.hit()]), INCREMENTS)], now=NOW, also=fail)
    assert labels() == {} and not AppliedMessage.objects.exists() and not Tally.objects.exists()


def test_any_primary_key_can_be_seen_counted_and_acted_upon(news: SimpleNamespace) -> None:
    """UUIDs and strings; a UUID in any spelling is the same object."""
    spelled = {"type": "newsroom.page", "id": news.page.pk.hex.upper()}

    send(
        wire.view(news.ada, news.page),
        wire.view(news.ada, object=spelled),
        wire.view(news.ada, news.topic),
        wire.increment(news.page),
        wire.increment(news.page, object=spelled),
        wire.increment(news.topic),
        wire.action(news.ada, "read", news.page, news.topic, related=[spelled]),
    )

    page, topic = ("newsroom.page", str(news.page.pk)), ("newsroom.topic", "django")
    assert set(marks()) == {(news.ada.pk, *page), (news.ada.pk, *topic)}
    assert totals() == {":".join(page): 2, ":".join(topic): 1}
    assert set(ActionObject.objects.values_list("role", "object_type", "object_id")) == {
        ("a", "auth.user", str(news.ada.pk)),
        ("t", *page),
        ("t", *topic),
        ("r", *page),
    }


def test_a_proxy_is_what_its_base_is(news: SimpleNamespace) -> None:
    """Also where another program says the proxy's name."""
    column = Column.objects.get(pk=news.articles[0].pk)

    send(
        wire.view(news.ada, column),
        wire.increment(column),
        wire.action(None, "read", column),
        wire.view(news.ada, Column),
    )

    key = f"newsroom.article:{column.pk}"
    assert totals() == {key: 1}
    assert set(marks()) == {(news.ada.pk, "newsroom.article", "")}
    assert ActionObject.objects.get().object_type == "newsroom.article"


# -- Once


def test_a_second_delivery_changes_nothing(news: SimpleNamespace) -> None:
    """In the same batch, in a later one, and under the same id with other bytes."""
    message_id = str(uuid.uuid4())
    first = wire.body([wire.hit("a"), wire.increment(news.articles[0])], message_id=message_id)
    other = wire.body([wire.hit("b")], message_id=message_id)

    assert deliver(first, first) == Totals(applied=2, duplicate=2)
    assert deliver(first) == Totals(duplicate=2)
    assert deliver(other) == Totals(duplicate=1)
    assert labels() == {("a", "None", "None", NOW.date()): 1}
    assert_balanced()


def test_a_second_delivery_of_a_bad_one_is_a_duplicate() -> None:
    """One letter, whatever was wrong and however often it comes."""
    bodies = [b"\xff", b"not JSON", wire.body([wire.hit("<b>"), wire.hit("a")])]

    assert deliver(*bodies, *bodies) == Totals(applied=1, dead=3, duplicate=4)
    assert deliver(*bodies) == Totals(duplicate=4)
    assert DeadLetter.objects.count() == 3
    assert_balanced()


def messages_of_everything(news: SimpleNamespace) -> list[bytes]:
    first, second, third = news.articles
    unit = str(uuid.uuid4())
    return [
        wire.body([wire.view(news.ada, first), wire.view(news.ada, first, at=NOW - timedelta(hours=1))]),
        wire.body([wire.view(news.ada, Article, at=NOW - timedelta(minutes=5)), wire.view(news.bob, second)]),
        wire.body([wire.increment(first, value=2), wire.increment(second), wire.increment(first, "score", op="decr")]),
        wire.body([wire.increment(third, "peak", op="record_peak", value=n) for n in (3, 9, 4)]),
        wire.body([wire.hit("a"), wire.hit("a"), wire.hit("b", "c", "d"), wire.hit("<b>")]),
        wire.body([wire.action(news.ada, "read", first, unit=unit), wire.action(news.ada, "wrote", second, unit=unit)]),
        wire.body([wire.increment(first, "peak", op="explode"), wire.hit("z")]),
        wire.body([wire.view(news.ada, user_agent="Googlebot/2.1"), b'{"kind": "like"}']),
        b"not JSON",
    ]


@shuffled
@given(seeds)
def test_everything_three_times_in_any_order_is_once(news: SimpleNamespace, seed: int) -> None:
    """However the deliveries are shuffled and split into batches."""
    Spider.objects.get_or_create(pattern="Googlebot", defaults={"name": "Googlebot"})
    bodies, chance = messages_of_everything(news), random.Random(seed)
    with rolled_back():
        deliver(*bodies)
        once, dead = rows(), letters()
    three_times = bodies * 3
    chance.shuffle(three_times)
    with rolled_back():
        while three_times:
            size = chance.randint(1, len(three_times))
            deliver(*three_times[:size])
            del three_times[:size]

        again = rows()
        assert {name: again[name] for name in ("totals", "daily", "labels", "actions", "spiders")} == {
            name: once[name] for name in ("totals", "daily", "labels", "actions", "spiders")
        }
        assert seen(news) == seen_by(once["marks"], news)
        assert letters() == dead
        assert_balanced()


def test_the_ledger_forgets_no_earlier_than_messages_are_refused() -> None:
    """Pruned by age, the oldest first, at most so many at a time."""
    for days in (0, 29, 30, 32, 33):
        send(
            wire.hit("a"),
            now=NOW - timedelta(days=days),
            message_timestamp=int((NOW - timedelta(days=days)).timestamp() * 1000),
        )

    assert prune(NOW, "default", limit=1) == 1
    assert prune(NOW, "default") == 1
    assert prune(NOW, "default") == 0
    assert AppliedMessage.objects.count() == 3


# -- In any order


def seen_by(stored: dict[tuple[int, str, str], datetime], news: SimpleNamespace) -> dict[Any, datetime | None]:
    """What the marks answer for every user and object: the latest of the three scopes."""
    objects = [("newsroom.article", str(a.pk)) for a in news.articles] + [("newsroom.page", str(news.page.pk))]
    return {
        (user.pk, *obj): max(
            (stored[key] for key in ((user.pk, *obj), (user.pk, obj[0], ""), (user.pk, "", "")) if key in stored),
            default=None,
        )
        for user in (news.ada, news.bob)
        for obj in objects
    }


def seen(news: SimpleNamespace) -> dict[Any, datetime | None]:
    return seen_by(marks(), news)


recipes = st.lists(
    st.tuples(
        st.sampled_from(["view", "model", "all", "views", "score", "daily", "label"]),
        st.integers(0, 2),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=12,
)


def cooked(recipe: tuple[str, int, int], news: SimpleNamespace) -> wire.Event:
    what, which, number = recipe
    article, at = news.articles[which], NOW - timedelta(hours=number * 5)
    match what:
        case "view":
            return wire.view(news.ada, article, at=at)
        case "model":
            return wire.view([news.ada, news.bob, news.ada][which], [Article, Page, Article][which], at=at)
        case "all":
            return wire.view(news.bob if which else news.ada, at=at)
        case "views":
            return wire.increment(article, value=number)
        case "score":
            return wire.increment(article, "score", op="decr" if number % 2 else "incr", value=number)
        case "daily":
            return wire.increment(article, dataset="newsroom.articledaily", value=number, at=at)
        case _:
            return wire.hit("abc"[which], "xyz"[number % 3], at=at)


@shuffled
@given(recipes, seeds)
def test_any_order_and_any_split_into_messages_and_batches_comes_to_the_same(
    news: SimpleNamespace, chosen: list[tuple[str, int, int]], seed: int
) -> None:
    """Marks answer the same, sums are the same, labels are the same."""
    events, chance = [cooked(recipe, news) for recipe in chosen], random.Random(seed)
    with rolled_back():
        send(*events)
        expected, answers = rows(), seen(news)
    chance.shuffle(events)
    with rolled_back():
        while events:
            batch = []
            for _ in range(chance.randint(1, 3)):
                size = chance.randint(0, len(events))
                batch.append(wire.body(events[:size]))
                del events[:size]
            deliver(*batch)
        found = rows()
        assert {name: found[name] for name in ("totals", "daily", "labels")} == {
            name: expected[name] for name in ("totals", "daily", "labels")
        }
        assert seen(news) == answers
        assert max(found["marks"].values(), default=None) == max(expected["marks"].values(), default=None)


parts = st.sampled_from(
    ["view", "hit", "action", "<b>", "explode", "666", "gone", "spider", "null", "NaN", "like", "late"]
)


@shuffled
@given(st.lists(st.lists(parts, max_size=6), min_size=1, max_size=6), seeds)
def test_the_account_balances(news: SimpleNamespace, chosen: list[list[str]], seed: int) -> None:
    """Good, bad, filtered, doubled and torn deliveries: every event has exactly one end."""
    article, chance = news.articles[0], random.Random(seed)
    makers: dict[str, Callable[[], wire.Event | bytes]] = {
        "view": lambda: wire.view(news.ada, article),
        "hit": wire.hit,
        "action": lambda: wire.action(news.ada, "read", article),
        "<b>": lambda: wire.hit("<b>"),
        "explode": lambda: wire.increment(article, "peak", op="explode"),
        "666": lambda: wire.increment(article, "clicks", dataset="newsroom.articledaily", value=666),
        "gone": lambda: wire.view("999999", article),
        "spider": lambda: wire.view(news.ada, user_agent=""),
        "null": lambda: b"null",
        "NaN": lambda: b'{"kind": "action", "data": {"a": NaN}}',
        "like": lambda: b'{"kind": "like"}',
        "late": lambda: wire.hit(at="1970-01-01T00:00:00Z"),
    }
    with rolled_back():
        bodies = [wire.body([makers[part]() for part in message]) for message in chosen]
        bodies += [body[: chance.randrange(len(body))] for body in chance.sample(bodies, len(bodies) // 3)]
        bodies += chance.choices(bodies, k=len(bodies) // 2)
        chance.shuffle(bodies)

        half = chance.randrange(len(bodies) + 1)
        came_to = [deliver(*bodies[:half]), deliver(*bodies[half:])]

        assert_balanced()
        assert tally("deliveries") == len(bodies)
        assert tally("applied") == sum(one.applied for one in came_to)
        assert tally("dead") == sum(one.dead for one in came_to) == DeadLetter.objects.count()


# -- Marks


def test_the_latest_mark_wins(news: SimpleNamespace) -> None:
    """An earlier one changes nothing, in the same batch or later."""
    article, key = news.articles[0], (news.ada.pk, "newsroom.article", str(news.articles[0].pk))
    for minutes in (10, 5, 20, 5):
        send(wire.view(news.ada, article, at=NOW - timedelta(minutes=minutes)))

    assert marks() == {key: NOW - timedelta(minutes=5)}
    send(*(wire.view(news.ada, article, at=NOW - timedelta(seconds=s)) for s in (3, 1, 2)))
    assert marks() == {key: NOW - timedelta(seconds=1)}


@pytest.mark.parametrize("apart", [timedelta(microseconds=1), timedelta(seconds=1)])
def test_times_are_kept_to_the_microsecond(news: SimpleNamespace, apart: timedelta) -> None:
    """A time of whole seconds and one just after it are in order."""
    for at in (NOW, NOW + apart, NOW):
        send(wire.view(news.ada, at=at))

    assert marks() == {(news.ada.pk, "", ""): NOW + apart}


def test_a_wider_mark_deletes_only_the_narrower_ones_that_are_not_newer(news: SimpleNamespace) -> None:
    """Of that user and, where it is a model's, of that model."""
    old, same, new = NOW - timedelta(hours=2), NOW - timedelta(hours=1), NOW
    one, two, three = news.articles
    for at, obj in ((old, one), (same, two), (new, three), (old, news.page)):
        send(wire.view(news.ada, obj, at=at), wire.view(news.bob, obj, at=at))

    send(wire.view(news.ada, Article, at=same))

    ada = {key[1:]: at for key, at in marks().items() if key[0] == news.ada.pk}
    assert ada == {
        ("newsroom.article", ""): same,
        ("newsroom.article", str(three.pk)): new,
        ("newsroom.page", str(news.page.pk)): old,
    }
    assert len([key for key in marks() if key[0] == news.bob.pk]) == 4

    send(wire.view(news.ada, at=same))

    ada = {key[1:]: at for key, at in marks().items() if key[0] == news.ada.pk}
    assert ada == {("", ""): same, ("newsroom.article", str(three.pk)): new}


# -- Counters


def test_tb_04_an_increment_of_0_adds_0(news: SimpleNamespace) -> None:
    """And makes the row."""
    send(wire.increment(news.articles[0], value=0))

    assert totals() == {f"newsroom.article:{news.articles[0].pk}": 0}


def test_tb_15_different_fields_of_one_row_don_t_disturb_each_other(news: SimpleNamespace) -> None:
    """Whatever else the row holds."""
    article = news.articles[0]
    ArticleTotals.objects.create(object_type="newsroom.article", object_id=str(article.pk), views=5, score=7, peak=1)

    send(wire.increment(article), wire.increment(article, "score", value=2))

    assert list(ArticleTotals.objects.values_list("views", "score", "peak")) == [(6, 9, 1)]


def test_a_positive_counter_stops_at_zero_and_a_signed_one_does_not(news: SimpleNamespace) -> None:
    """With a row there and without one; the sum of a batch is taken before it is cut off."""
    one, two, three = news.articles
    send(wire.increment(one, value=3))

    send(
        wire.increment(one, op="decr", value=5),
        wire.increment(two, op="decr", value=2),
        wire.increment(two, "score", op="decr", value=2),
        wire.increment(three, op="decr", value=2),
        wire.increment(three, value=5),
        wire.increment(one, value=-1),
    )

    assert list(totals().values()) == [0, 0, 3]
    assert totals("score")[f"newsroom.article:{two.pk}"] == -2


def test_a_falling_counter_leaves_its_neighbours_in_the_row_right(news: SimpleNamespace) -> None:
    """One row, one counter up and one down."""
    article = news.articles[0]
    send(wire.increment(article, value=2), wire.increment(article, "score", value=2))

    send(wire.increment(article, op="decr"), wire.increment(article, "score", value=5))

    assert list(ArticleTotals.objects.values_list("views", "score")) == [(1, 7)]


# -- Days


@pytest.mark.parametrize(
    ("at", "day"),
    [
        pytest.param("2026-06-14T21:59:59.999999Z", date(2026, 6, 14), id="the last moment of a summer day"),
        pytest.param("2026-06-14T22:00:00Z", date(2026, 6, 15), id="midnight in summer"),
        pytest.param("2026-01-14T22:59:59Z", date(2026, 1, 14), id="the last second of a winter day"),
        pytest.param("2026-01-14T23:00:00Z", date(2026, 1, 15), id="midnight in winter"),
        pytest.param("2026-03-28T22:59:59Z", date(2026, 3, 28), id="before the day that begins summer time"),
        pytest.param("2026-03-28T23:00:00Z", date(2026, 3, 29), id="midnight of the day of 23 hours"),
        pytest.param("2026-03-29T21:59:59Z", date(2026, 3, 29), id="the end of the day of 23 hours"),
        pytest.param("2026-03-29T22:00:00Z", date(2026, 3, 30), id="midnight after it"),
        pytest.param("2025-10-25T22:00:00Z", date(2025, 10, 26), id="midnight of the day of 25 hours"),
        pytest.param("2025-10-26T00:30:00Z", date(2025, 10, 26), id="the hour that comes twice"),
        pytest.param("2025-10-26T22:59:59Z", date(2025, 10, 26), id="the end of the day of 25 hours"),
        pytest.param("2025-10-26T23:00:00Z", date(2025, 10, 27), id="midnight after that"),
        pytest.param("2026-06-14T23:30:00+09:00", date(2026, 6, 14), id="another zone's evening"),
        pytest.param("2026-06-15T00:30:00-05:00", date(2026, 6, 15), id="another zone's night"),
    ],
)
def test_tr_07_the_day_is_the_events_in_the_sites_zone(news: SimpleNamespace, at: str, day: date) -> None:
    """Not the fold's: for labels, series and spiders, however late it is folded."""
    Spider.objects.create(pattern="Googlebot", name="Googlebot")

    send(
        wire.hit("a", at=at),
        wire.increment(news.articles[0], dataset="newsroom.articledaily", at=at),
        wire.hit("b", at=at, user_agent="Googlebot/2.1"),
    )

    assert list(labels()) == [("a", "None", "None", day)]
    assert ArticleDaily.objects.get().collected_during == day
    assert SpiderTally.objects.get().day == day


# -- Filtered


def test_spiders_are_counted_apart(news: SimpleNamespace) -> None:
    """Per day and name; whatever they did leaves nothing else. What has no user agent is kept."""
    Spider.objects.create(pattern="Googlebot", name="Googlebot")
    bot = {"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    article = news.articles[0]

    came_to = send(
        wire.view(news.ada, article, **bot),
        wire.increment(article, **bot),
        wire.hit("a", **bot),
        wire.hit("a", at=NOW - timedelta(days=1), **bot),
        wire.action(news.ada, "read", **bot),
        wire.hit("b"),
        wire.hit("b", user_agent="Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    )

    assert came_to == Totals(applied=2, filtered=5)
    assert {row.day: (row.spider, row.count) for row in SpiderTally.objects.all()} == {
        date(2026, 6, 15): ("Googlebot", 4),
        date(2026, 6, 14): ("Googlebot", 1),
    }
    assert labels() == {("b", "None", "None", NOW.date()): 2}
    assert not ViewMark.objects.exists() and not Action.objects.exists() and not DeadLetter.objects.exists()
    assert_balanced()


@pytest.mark.parametrize(
    ("policy", "user_agent", "applied"),
    [
        ({}, "", False),
        ({}, "  ", False),
        ({}, None, True),
        ({"MISSING_USER_AGENT": "keep"}, "", True),
        ({"FILTER_SPIDERS": False}, "", True),
        ({"FILTER_SPIDERS": False}, "Googlebot", True),
        ({}, "Googlebot", False),
    ],
    ids=["empty", "blank", "absent", "empty, kept", "empty, no filter", "spider, no filter", "spider"],
)
def test_tb_22_the_user_agent_policy(
    policy: dict[str, Any], user_agent: str | None, applied: bool, settings: Any
) -> None:
    """A request without the header is left out unless a setting says keep; what is no request is always kept."""
    Spider.objects.create(pattern="Googlebot", name="Googlebot")
    settings.FOOTFALL = {**settings.FOOTFALL, **policy}

    assert send(wire.hit("a", user_agent=user_agent)) == (Totals(applied=1) if applied else Totals(filtered=1))
    assert_balanced()


def test_what_is_about_something_gone_is_left_out(news: SimpleNamespace) -> None:
    """A user, an object, a counted object; an action outlives what it was about."""
    article, other = news.articles[:2]
    events = [
        wire.view(news.bob, other),
        wire.view(news.ada, article),
        wire.increment(article),
        wire.action(news.bob, "read", article),
        wire.increment(other),
    ]
    news.bob.delete()
    article.delete()

    assert send(*events) == Totals(applied=2, filtered=3)
    assert len(totals()) == 1 and Action.objects.count() == 1 and not DeadLetter.objects.exists()


def test_a_great_many_objects_are_asked_for_in_a_few_queries(
    news: SimpleNamespace, django_assert_max_num_queries: Any
) -> None:
    """A batch's queries don't grow with its events."""
    made = Article.objects.bulk_create([Article(title=str(n)) for n in range(1200)])
    body = wire.body([wire.increment(article) for article in made])

    with django_assert_max_num_queries(20):
        assert deliver(body) == Totals(applied=1200)
    assert len(totals()) == 1200


# -- Dead


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"object": {"type": "newsroom.nothing", "id": "1"}}, Reason.UNKNOWN_TYPE),
        ({"object": {"type": "article", "id": "1"}}, Reason.UNKNOWN_TYPE),
        ({"object": {"type": "a.b.c", "id": "1"}}, Reason.UNKNOWN_TYPE),
        ({"object": {"type": "__class__", "id": "1"}}, Reason.UNKNOWN_TYPE),
        ({"object": {"type": "auth.user", "id": "1"}}, Reason.UNKNOWN_DATASET),
        ({"object": {"type": "newsroom.page", "id": "7"}}, Reason.BAD_KEY),
        ({"object": {"type": "newsroom.article", "id": "seven"}}, Reason.BAD_KEY),
        ({"object": {"type": "newsroom.article", "id": "1.5"}}, Reason.BAD_KEY),
        ({"object": {"type": "newsroom.article", "id": "9" * 30}}, Reason.BAD_KEY),
        ({"object": {"type": "newsroom.article", "id": "1; DROP TABLE x"}}, Reason.BAD_KEY),
        ({"object": {"type": "newsroom.topic", "id": "x" * 51}}, Reason.BAD_KEY),
        ({"dataset": "newsroom.nothing"}, Reason.UNKNOWN_DATASET),
        ({"dataset": "newsroom.article"}, Reason.UNKNOWN_DATASET),
        ({"dataset": "__class__"}, Reason.UNKNOWN_DATASET),
        ({"field": "likes"}, Reason.UNKNOWN_FIELD),
        ({"field": "id"}, Reason.UNKNOWN_FIELD),
        ({"field": "object_id"}, Reason.UNKNOWN_FIELD),
        ({"field": "__class__"}, Reason.UNKNOWN_FIELD),
        ({"field": "views = views + 1; --"}, Reason.UNKNOWN_FIELD),
        ({"field": "<b>views</b>"}, Reason.UNKNOWN_FIELD),
        ({"op": "delete"}, Reason.UNKNOWN_OPERATION),
        ({"op": "save"}, Reason.UNKNOWN_OPERATION),
        ({"op": "__class__"}, Reason.UNKNOWN_OPERATION),
        ({"op": "objects"}, Reason.UNKNOWN_OPERATION),
        ({"op": "parent"}, Reason.UNKNOWN_OPERATION),
        ({"op": "refresh_from_db"}, Reason.UNKNOWN_OPERATION),
        ({"value": 2**31}, Reason.BAD_NUMBER),
        ({"field": "score", "value": -(2**31)}, Reason.BAD_NUMBER),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_this_site_does_not_know_is_a_dead_letter(
    news: SimpleNamespace, fields: dict[str, Any], reason: Reason
) -> None:
    """With its reason and its bytes, and the neighbour counts."""
    bad = wire.increment(news.articles[0], **fields)

    assert send(bad, wire.increment(news.articles[0])) == Totals(applied=1, dead=1)

    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.position, letter.stage, letter.kind) == (reason.value, 0, "fold", "increment")
    assert json.loads(letter.current_body) == bad
    assert (str(letter.event_id), letter.state, letter.queue) == (bad["id"], "open", INCREMENTS)
    assert list(totals().values()) == [1]


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (wire.view("seven"), Reason.BAD_KEY),
        (wire.view("1" * 255), Reason.BAD_KEY),
        (wire.view("1", object={"type": "a.b"}), Reason.UNKNOWN_TYPE),
        (wire.action(None, "read", actor={"type": "a.b", "id": "1"}), Reason.UNKNOWN_TYPE),
        (wire.action(None, "read", targets=[{"type": "a.b", "id": "1"}]), Reason.UNKNOWN_TYPE),
        (wire.action(None, "read", related=[{"type": "newsroom.page", "id": "1"}]), Reason.BAD_KEY),
        (wire.action(None, "read", using="nowhere"), Reason.UNKNOWN_ALIAS),
        (wire.hit("a", op="decr"), Reason.UNKNOWN_OPERATION),
        (wire.hit("a", op="__class__"), Reason.UNKNOWN_OPERATION),
    ],
    ids=lambda value: str(value)[:12] if isinstance(value, Reason) else value["kind"],
)
def test_views_actions_and_labels_are_held_against_the_site_too(event: wire.Event, reason: Reason) -> None:
    """Models, keys, aliases and operations."""
    assert send(event, wire.hit("b")) == Totals(applied=1, dead=1)
    assert letters() == [(reason.value, 0)]


def test_a_delivery_that_is_no_message_is_one_letter_with_its_bytes() -> None:
    """Any bytes: the column is binary."""
    bodies = [b"\xff\x00\xfe", b"[" * 200_000, b"null", b"", b" " * 5_000_000]

    assert deliver(*bodies, wire.body([wire.hit()])) == Totals(applied=1, dead=5)

    assert {letter.current_body for letter in DeadLetter.objects.all()} == set(bodies)
    assert all(letter.whole and letter.stage == "decode" and letter.error for letter in DeadLetter.objects.all())
    assert_balanced()


def test_a_custom_operation_runs_on_its_row(news: SimpleNamespace) -> None:
    """After the sums, in the order of the events, each once."""
    article = news.articles[0]

    send(
        *(wire.increment(article, "peak", op="record_peak", value=n) for n in (3, 9, 4)),
        wire.increment(article, value=2),
    )

    assert list(ArticleTotals.objects.values_list("views", "peak")) == [(2, 9)]


def test_a_custom_operation_that_raises_is_that_events_dead_letter(news: SimpleNamespace) -> None:
    """Its neighbours count, also those on the same row."""
    article = news.articles[0]
    peak = {"op": "record_peak", "field": "peak"}

    came_to = send(
        wire.increment(article),
        wire.increment(article, "peak", op="explode"),
        wire.increment(article, **peak, value=4),
        wire.increment(article, "peak", op="explode"),
        wire.view(news.ada, article),
    )

    assert came_to == Totals(applied=3, dead=2)
    assert letters() == [("handler_error", 1), ("handler_error", 3)]
    assert "RuntimeError: this operation always fails" in DeadLetter.objects.all()[0].error
    assert list(ArticleTotals.objects.values_list("views", "peak")) == [(1, 4)]


def test_a_great_many_operations_that_raise_are_as_many_dead_letters(news: SimpleNamespace) -> None:
    """However many: a fault of the site's code harms no neighbour and stops no queue."""
    article = news.articles[0]
    events = [wire.increment(article, "peak", op="explode") for _ in range(600)]

    assert send(wire.increment(article), *events, wire.hit("a")) == Totals(applied=2, dead=600)
    assert reasons() == {"handler_error": 600}
    assert totals() == {f"newsroom.article:{article.pk}": 1}


@pytest.mark.usefixtures("handlers")
def test_a_great_many_handlers_that_raise_in_one_unit_are_as_many_dead_letters(news: SimpleNamespace) -> None:
    """A unit is tried again without the culprit, however often."""

    class Broken(ActionHandler):
        verb = "broke"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            raise KeyError("no such thing")

    broken = (wire.action(news.ada, "broke", news.articles[0]) for _ in range(601))

    assert send(*unit_of(*broken, wire.action(news.bob, "read"))) == Totals(applied=2, dead=600)
    assert reasons() == {"handler_error": 600}


def refused(article: Article) -> wire.Event:
    """A row that the database refuses although Python could not know."""
    return wire.increment(article, "clicks", dataset="newsroom.articledaily", value=666)


def test_a_row_that_the_database_refuses_buries_one_event(news: SimpleNamespace) -> None:
    """Its neighbours of every kind commit with the letter."""
    one, two, _ = news.articles

    came_to = send(
        wire.increment(one, "clicks", dataset="newsroom.articledaily"),
        refused(two),
        wire.view(news.ada, two),
        wire.hit("a"),
        wire.action(news.ada, "read", two),
    )

    assert came_to == Totals(applied=4, dead=1)
    letter = DeadLetter.objects.get()
    assert (letter.reason, letter.stage, letter.position) == ("refused", "write", 1)
    assert "newsroom_not_666" in letter.error
    assert list(ArticleDaily.objects.values_list("object_id", "clicks")) == [(str(one.pk), 1)]
    assert len(marks()) == len(labels()) == Action.objects.count() == 1
    assert_balanced()


def test_the_database_refuses_sums_too(news: SimpleNamespace) -> None:
    """Where the first is stored, the one that makes the row impossible is buried, in one batch or two."""
    one, two, _ = news.articles
    series = {"dataset": "newsroom.articledaily", "field": "clicks"}

    assert send(wire.increment(one, **series, value=600)) == Totals(applied=1)
    assert send(
        wire.increment(one, **series, value=66),
        wire.increment(two, **series, value=600),
        wire.increment(two, **series, value=66),
    ) == Totals(applied=1, dead=2)

    assert sorted(ArticleDaily.objects.values_list("clicks", flat=True)) == [600, 600]


def test_several_bad_rows_in_a_large_batch_are_found(news: SimpleNamespace) -> None:
    """Wherever they stand; everything else is applied."""
    made = Article.objects.bulk_create([Article(title=str(n)) for n in range(400)])
    bad = {0, 1, 57, 200, 201, 399}
    events = [
        refused(article)
        if number in bad
        else wire.increment(article, "clicks", dataset="newsroom.articledaily", value=number)
        for number, article in enumerate(made)
    ]

    assert deliver(*(wire.body(events[n : n + 20]) for n in range(0, 400, 20))) == Totals(applied=394, dead=6)

    stored = {int(pk): clicks for pk, clicks in ArticleDaily.objects.values_list("object_id", "clicks")}
    assert stored == {article.pk: number for number, article in enumerate(made) if number not in bad}
    assert reasons() == {"refused": 6}
    assert_balanced()


def test_sums_of_more_than_64_bits_are_refused(news: SimpleNamespace) -> None:
    """In the batch, and with what is stored; no number turns into a float."""
    article, series = news.articles[0], {"dataset": "newsroom.articledaily", "field": "clicks"}
    most = 2**63 - 1

    assert send(wire.increment(article, **series, value=most)) == Totals(applied=1)
    assert send(wire.increment(article, **series), wire.hit("a", value=most)) == Totals(applied=1, dead=1)
    assert send(*[wire.hit("a", value=most)] * 2, wire.hit("b")) == Totals(applied=1, dead=2)
    assert send(wire.hit("c", value=most), wire.hit("c", value=most), wire.hit("c", value=-most)).dead <= 1

    assert ArticleDaily.objects.get().clicks == most
    assert Statistic.objects.get(label="a").counter == most
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT typeof(counter) FROM footfall_storage_statistic")
        assert cursor.fetchall() == [("integer",)]
    assert reasons().keys() == {"refused"}


def test_falling_sums_of_more_than_64_bits_are_refused_too(news: SimpleNamespace) -> None:
    """A counter that falls is changed by another statement, and by the same rules."""
    article, series = news.articles[0], {"dataset": "newsroom.articledaily", "field": "clicks"}
    most = 2**63 - 1

    came_to = send(*[wire.increment(article, **series, op="decr", value=most)] * 3)

    assert came_to.applied + came_to.dead == 3
    assert ArticleDaily.objects.get().clicks == 0


def test_two_actions_of_one_id_are_one_row_and_one_letter(news: SimpleNamespace) -> None:
    """A publisher that uses an id again under another message's."""
    read = wire.action(news.ada, "read", news.articles[0])

    assert send(read) == Totals(applied=1)
    assert send(read, wire.hit()) == Totals(applied=1, dead=1)
    assert reasons() == {"refused": 1}


def taken_id(news: SimpleNamespace) -> wire.Event:
    """An action that the database refuses: there is one of its id."""
    there = wire.action(news.bob, "other")
    assert send(there).applied == 1
    return wire.action(news.ada, "saw") | {"id": there["id"]}


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_others_of_a_unit_in_which_one_is_refused_are_joined(news: SimpleNamespace, place: int) -> None:
    """Combined and grouped, as if it had not been there."""

    class Edited(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(own: Draft, other: Draft) -> bool:
            return True

    one = news.articles[0]
    bad = taken_id(news)
    events = [wire.action(news.ada, "created", one), wire.action(news.ada, "edited", one)]
    events.insert(place, bad)

    assert send(*unit_of(*events)) == Totals(applied=2, dead=1)
    assert letters() == [("refused", place)]
    assert sorted(verb for verb, *_ in actions()) == ["created", "other"]


def test_of_many_in_a_unit_each_is_tried_alone_once(news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it takes two to be refused: then they are taken apart."""
    tries = 0
    fold = action_folding.apply

    def counting(events: Any, using: str) -> None:
        nonlocal tries
        tries += 1
        fold(events, using)

    monkeypatch.setattr(action_folding, "apply", counting)
    bad, twin = taken_id(news), str(uuid.uuid4())
    twins = [wire.action(news.ada, "read", grouping_delay=-1, id=twin) for _ in range(2)]
    many = [wire.action(news.ada, "read", news.articles[n % 3], grouping_delay=-1) for n in range(97)]

    assert send(*unit_of(bad, twins[0], *many, twins[1])) == Totals(applied=98, dead=2)
    assert reasons() == {"refused": 2}
    assert tries <= 4 * 100


# -- Stop and shout


@pytest.mark.parametrize(
    "wrong", [{"DEFAULT_HANDLER": "nowhere.Handler"}, {"DEFAULT_LEVEL": "LOUD"}], ids=["handler", "level"]
)
def test_a_setting_that_is_wrong_buries_no_action(news: SimpleNamespace, settings: Any, wrong: dict[str, Any]) -> None:
    """The batch waits until it is mended, however small it is."""
    right = settings.FOOTFALL
    body = wire.body([wire.action(news.ada, "read"), wire.hit("a")])
    settings.FOOTFALL = {**right, **wrong}

    with pytest.raises(Fault, match="settings"):
        deliver(body)
    assert not DeadLetter.objects.exists() and not AppliedMessage.objects.exists()

    settings.FOOTFALL = right
    assert deliver(body) == Totals(applied=2)


def fail_on_marks(marks: dict[Any, Any], using: str) -> None:
    if marks:
        raise TypeError("a fault of the code")


def test_when_more_than_half_of_a_large_batch_fails_inside_nothing_is_written(
    news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That is a fault of the code: no dead letter, no ledger entry, no tally."""
    monkeypatch.setattr(views, "write", fail_on_marks)

    with pytest.raises(Fault, match="TypeError"):
        send(*(wire.view(news.ada, news.articles[n % 3]) for n in range(120)), wire.hit("a"))

    assert not DeadLetter.objects.exists() and not AppliedMessage.objects.exists()
    assert not Tally.objects.exists() and not labels()


def test_a_few_that_fail_inside_are_dead_letters(news: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as they are no more than half, or the batch is small."""
    monkeypatch.setattr(views, "write", fail_on_marks)
    seen_ones = [wire.view(news.ada, news.articles[n % 3]) for n in range(60)]

    assert send(*seen_ones, *(wire.hit("a") for _ in range(60))) == Totals(applied=60, dead=60)
    assert send(*seen_ones[:5]) == Totals(dead=5)
    assert reasons() == {"internal_error": 65}
    assert_balanced()


def test_a_table_that_a_deploy_has_not_made_yet_is_waited_for(news: SimpleNamespace) -> None:
    """Nothing is written, and the same batch is applied once the table is there."""
    body = wire.body([wire.hit("a"), wire.view(news.ada), wire.hit("<b>")])
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE footfall_storage_statistic RENAME TO put_away")

    with pytest.raises(Transient):
        deliver(body)
    assert not marks() and not AppliedMessage.objects.exists() and not DeadLetter.objects.exists()

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE put_away RENAME TO footfall_storage_statistic")
    assert deliver(body) == Totals(applied=2, dead=1)


@pytest.mark.parametrize(
    "table", ["footfall_storage_appliedmessage", "footfall_storage_tally", "footfall_storage_deadletter"]
)
def test_without_its_books_nothing_is_applied(table: str) -> None:
    """Ledger, tallies and dead letters are as much a part of the batch as its rows."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO put_away")

    with pytest.raises(Transient):
        send(wire.hit("a"), wire.hit("<b>"))
    assert not labels()


@pytest.mark.django_db(transaction=True)
def test_a_locked_database_is_waited_for() -> None:
    """Nothing is written, and the same batch is applied once the lock is gone."""
    body = wire.body([wire.hit("a"), wire.hit("<b>")])
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 20")
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Transient, match="locked"):
            deliver(body)
    finally:
        other.execute("ROLLBACK")
        other.close()
    assert not labels() and not DeadLetter.objects.exists() and not Tally.objects.exists()

    assert deliver(body) == Totals(applied=1, dead=1)
    connection.close()


# -- Actions of one unit


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers that a test defines are forgotten after it."""
    monkeypatch.setattr(action_handlers, "_handlers", dict(action_handlers._handlers))


def unit_of(*events: wire.Event) -> list[wire.Event]:
    unit = str(uuid.uuid4())
    return [event | {"unit": unit} for event in events]


def actions() -> list[tuple[str, int, Any, int]]:
    """Verb, level, data and number of targets of what is stored, by time and id."""
    found = Action.objects.order_by("timestamp", "verb", "id")
    return [(a.verb, a.level, a.data, a.refs.filter(role="t").count()) for a in found]


@pytest.mark.usefixtures("handlers")
def test_a_newer_action_whose_targets_are_a_subset_may_be_combined(news: SimpleNamespace) -> None:
    """The older one is kept, with its time and what it said; levels at their highest."""

    class Edited(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(newer: Draft, older: Draft) -> bool:
            return True

    one, two, three = news.articles
    older = wire.action(news.ada, "created", one, two, data={"x": 1}, level=30, at=NOW - timedelta(seconds=1))

    send(*unit_of(older, wire.action(news.ada, "edited", one, data={"x": 2, "y": 3}, level=40)))
    assert actions() == [("created", 40, {"x": 1, "y": 3}, 2)]
    assert Action.objects.get().timestamp == NOW - timedelta(seconds=1)

    Action.objects.all().delete()
    send(*unit_of(wire.action(news.ada, "created", one), wire.action(news.ada, "edited", one, two)))
    assert [verb for verb, *_ in actions()] == ["created", "edited"]

    Action.objects.all().delete()
    send(*unit_of(wire.action(news.ada, "created", one), wire.action(news.bob, "edited", one)))
    send(*unit_of(wire.action(news.ada, "created", three)), *unit_of(wire.action(news.ada, "edited", three)))
    assert len(actions()) == 4


@pytest.mark.usefixtures("handlers")
def test_an_older_action_may_be_absorbed_by_a_newer_one(news: SimpleNamespace) -> None:
    """The newer one is kept then, and the search for others goes on."""

    class Drafted(ActionHandler):
        verb = "drafted"

        @staticmethod
        def combine_with_published(own: Draft, other: Draft) -> bool:
            return True

    one = news.articles[0]

    send(
        *unit_of(
            wire.action(news.ada, "drafted", one, data={"a": 1}, level=50, at=NOW - timedelta(seconds=2)),
            wire.action(news.ada, "drafted", one, data={"b": 2}, grouping_delay=-1, at=NOW - timedelta(seconds=1)),
            wire.action(news.ada, "published", one, data={"a": 3}),
        )
    )

    assert actions() == [("published", 50, {"a": 3, "b": 2}, 1)]
    assert Action.objects.get().timestamp == NOW


@pytest.mark.usefixtures("handlers")
def test_only_a_classes_own_hooks_combine(news: SimpleNamespace) -> None:
    """A hook that is inherited is not asked."""

    class Base(ActionHandler):
        verb = "edited"

        @staticmethod
        def combine_with_created(newer: Draft, older: Draft) -> bool:
            return True

    class Reviewed(Base):
        verb = "reviewed"

    one = news.articles[0]
    send(*unit_of(wire.action(news.ada, "created", one), wire.action(news.ada, "reviewed", one)))

    assert len(actions()) == 2


def test_ac_47_grouped_actions_merge_their_data(news: SimpleNamespace) -> None:
    """What the older one says wins, lists are united, dicts merged deep."""
    one, two, three = news.articles
    related = [wire.ref(news.topic)]
    send(
        *unit_of(
            wire.action(news.ada, "read", one, related=related, data={"a": 1, "b": 1, "l": [1], "d": {"x": 1}}),
            wire.action(
                news.ada, "read", two, three, related=related, data={"a": 2, "c": 3, "l": [1, 2], "d": {"x": 2, "y": 3}}
            ),
        )
    )

    assert actions() == [("read", 30, {"a": 1, "b": 1, "c": 3, "l": [1, 2], "d": {"x": 1, "y": 3}}, 3)]


def test_ac_48_two_empty_sides_do_not_by_themselves_make_two_actions_similar(news: SimpleNamespace) -> None:
    """Three creations stay three; the same said twice is once."""
    send(*unit_of(*(wire.action(news.ada, "created", article) for article in news.articles)))
    assert len(actions()) == 3

    send(*unit_of(wire.action(news.ada, "logged in"), wire.action(news.ada, "logged in")))
    send(*unit_of(wire.action(None, "rained"), wire.action(None, "rained")))
    assert len(actions()) == 5


def test_grouping_can_be_switched_off_and_never_crosses_units(news: SimpleNamespace, settings: Any) -> None:
    """By the action, or by the setting; -1 is off."""
    one = news.articles[0]
    twice = [wire.action(news.ada, "read", one), wire.action(news.ada, "read", one)]

    send(*unit_of(twice[0], wire.action(news.ada, "read", one, grouping_delay=-1)))
    assert Action.objects.count() == 2
    send(wire.action(news.ada, "wrote", one), wire.action(news.ada, "wrote", one))
    assert Action.objects.filter(verb="wrote").count() == 2
    settings.FOOTFALL = {**settings.FOOTFALL, "GROUPING_DELAY": -1}
    send(*unit_of(wire.action(news.ada, "saw", one), wire.action(news.ada, "saw", one)))
    assert Action.objects.filter(verb="saw").count() == 2


@pytest.mark.usefixtures("handlers")
def test_a_handler_that_raises_makes_that_action_a_dead_letter(news: SimpleNamespace) -> None:
    """The others of its unit are stored."""

    class Broken(ActionHandler):
        verb = "broke"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            raise KeyError("no such thing")

    one = news.articles[0]

    came_to = send(
        *unit_of(
            wire.action(news.ada, "read", one),
            wire.action(news.ada, "broke", one),
            wire.action(news.ada, "broke", one),
            wire.action(news.ada, "wrote", one),
        )
    )

    assert came_to == Totals(applied=3, dead=1)
    assert letters() == [("handler_error", 2)]
    assert [verb for verb, *_ in actions()] == ["broke", "read", "wrote"]


@pytest.mark.usefixtures("handlers")
def test_a_handler_that_spoils_an_action_harms_only_that_one(news: SimpleNamespace) -> None:
    """What it made of it can't be written."""

    class Spoiling(ActionHandler):
        verb = "spoiled"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            newer.data = {"handler": object()}
            return False

    one = news.articles[0]
    spoiled = [wire.action(news.ada, "spoiled", one), wire.action(news.ada, "spoiled", one)]

    came_to = send(*unit_of(*spoiled), wire.action(news.ada, "read", one))

    # Alone each of the two is a sound action: only joining them spoils one.
    assert came_to == Totals(applied=3) or came_to == Totals(applied=2, dead=1)
    assert ("read", 30, {}, 1) in actions()
    assert_balanced()


@pytest.mark.usefixtures("handlers")
def test_an_outage_in_a_handler_is_no_dead_letter(news: SimpleNamespace) -> None:
    """A handler that asks the database while that is away is asked again later."""

    class Asking(ActionHandler):
        verb = "asked"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            raise OperationalError("server closed the connection unexpectedly")

    one = news.articles[0]

    with pytest.raises(Transient):
        send(*unit_of(wire.action(news.ada, "asked", one), wire.action(news.ada, "asked", one)))
    assert not DeadLetter.objects.exists()


@pytest.mark.usefixtures("handlers")
def test_a_handler_gives_its_verb_a_level(news: SimpleNamespace) -> None:
    """Where the action states none."""

    class Shouted(ActionHandler):
        verb = "shouted"
        level = 50

    send(wire.action(news.ada, "shouted"), wire.action(news.bob, "shouted", level=0), wire.action(news.ada, "read"))

    assert sorted(Action.objects.values_list("verb", "level")) == [("read", 30), ("shouted", 0), ("shouted", 50)]


# -- Replay


def mend(letter: DeadLetter, body: bytes) -> None:
    letter.edited_body = body
    letter.save()


def test_a_mended_letter_is_applied_once(news: SimpleNamespace) -> None:
    """A second replay finds nothing, and the original bytes stay."""
    good, bad = wire.hit("good"), wire.hit("<b>")
    send(good, bad)
    letter = DeadLetter.objects.get()
    mend(letter, json.dumps(wire.hit("mended")).encode())

    summary = replay(DeadLetter.objects.all(), now=NOW)
    again = replay(DeadLetter.objects.all(), now=NOW)

    assert (summary.replayed, summary.still_dead, again.replayed) == (1, 0, 0)
    letter.refresh_from_db()
    assert (letter.state, letter.settled_at, letter.attempts) == ("replayed", NOW, 2)
    assert json.loads(bytes(letter.body)) == bad
    assert {key[0]: count for key, count in labels().items()} == {"good": 1, "mended": 1}
    assert tally("replayed") == 1
    assert_balanced()


def test_a_letter_that_dies_again_stays_open_with_its_new_reason(news: SimpleNamespace) -> None:
    """Old letters are tried again without a change, too: the site may have learned."""
    send(wire.hit("<b>"), wire.increment(news.articles[0], "peak", op="explode"))
    first, _ = DeadLetter.objects.order_by("position")
    mend(first, json.dumps(wire.increment(news.articles[0], "likes")).encode())

    summary = replay(DeadLetter.objects.all(), now=NOW + timedelta(minutes=1))

    assert (summary.replayed, summary.still_dead) == (0, 2)
    assert summary.reasons == {"unknown_field": 1, "handler_error": 1}
    first.refresh_from_db()
    assert (first.state, first.reason, first.stage, first.attempts) == ("open", "unknown_field", "fold", 2)
    assert first.last_seen == NOW + timedelta(minutes=1) and first.first_seen == NOW


def test_a_dry_run_says_what_would_be_and_changes_nothing(news: SimpleNamespace) -> None:
    """Every row is as it was."""
    send(wire.hit("<b>"), wire.hit("<i>"))
    mend(DeadLetter.objects.get(position=0), json.dumps(wire.hit("a")).encode())
    before = (rows(), list(DeadLetter.objects.values()), list(Tally.objects.values()))

    summary = replay(DeadLetter.objects.all(), dry_run=True, now=NOW)

    assert (summary.replayed, summary.still_dead) == (1, 1)
    assert (rows(), list(DeadLetter.objects.values()), list(Tally.objects.values())) == before


def test_a_limit_takes_the_oldest_and_progress_is_told(news: SimpleNamespace) -> None:
    """In chunks of a hundred."""
    send(*(wire.view("999999", at="1970-01-01T00:00:00Z") for _ in range(250)))
    told: list[int] = []

    summary = replay(DeadLetter.objects.all(), limit=150, now=NOW, progress=told.append)

    assert (summary.still_dead, told) == (150, [100, 150])
    assert DeadLetter.objects.filter(attempts=2).count() == 150


def test_filters_and_states_are_kept(news: SimpleNamespace) -> None:
    """What isn't asked for, or was discarded, isn't touched."""
    send(wire.hit("<b>"), wire.increment(news.articles[0], "likes"), wire.hit("<i>"))
    DeadLetter.objects.filter(position=2).update(state="discarded")

    summary = replay(DeadLetter.objects.filter(reason="bad_text"), now=NOW)

    assert (summary.replayed, summary.still_dead) == (0, 1)
    assert list(DeadLetter.objects.order_by("position").values_list("attempts", flat=True)) == [2, 1, 1]


def test_a_whole_delivery_is_replayed_with_all_its_events(news: SimpleNamespace) -> None:
    """Those that are bad become letters of their own; under its own id it is known from then on."""
    events = [wire.hit("a"), wire.hit("<b>"), wire.increment(news.articles[0]), wire.view("999999")]
    sound = wire.body(events)
    deliver(sound[:-1])
    mend(DeadLetter.objects.get(), sound)

    summary = replay(DeadLetter.objects.all(), now=NOW)

    assert (summary.replayed, summary.still_dead) == (1, 1)
    assert sorted(DeadLetter.objects.values_list("position", "state", "reason")) == [
        (-1, "replayed", "not_json"),
        (1, "open", "bad_text"),
    ]
    assert list(totals().values()) == [1] and len(labels()) == 1
    assert deliver(sound) == Totals(duplicate=4)


def test_a_whole_delivery_that_was_applied_meanwhile_is_not_applied_again() -> None:
    """Its publisher sent it again, whole."""
    sound = wire.body([wire.hit("a")])
    deliver(sound[:-1])
    deliver(sound)
    mend(DeadLetter.objects.get(), sound)

    assert replay(DeadLetter.objects.all(), now=NOW).replayed == 1
    assert list(labels().values()) == [1]


def test_two_letters_mended_into_the_same_message_are_applied_once() -> None:
    """The second is settled as known."""
    sound = wire.body([wire.hit("a")])
    deliver(sound[:-1], sound[:-2])
    DeadLetter.objects.update(edited_body=sound)

    assert replay(DeadLetter.objects.all(), now=NOW).replayed == 2
    assert list(labels().values()) == [1]


def test_a_whole_delivery_that_is_still_no_message_stays_open() -> None:
    """With the reason of the edited bytes."""
    deliver(b"not JSON")
    mend(DeadLetter.objects.get(), b"null")

    summary = replay(DeadLetter.objects.all(), now=NOW)

    assert summary.reasons == {"bad_envelope": 1}
    assert DeadLetter.objects.get().state == "open"


def test_a_replay_applies_what_stopped_being_wrong(news: SimpleNamespace) -> None:
    """An event of an object that is gone by now is settled as filtered."""
    article = news.articles[0]
    send(wire.increment(article, "peak", op="explode"))
    article.delete()

    assert replay(DeadLetter.objects.all(), now=NOW).replayed == 1


# -- Elsewhere


def test_any_kind_may_come_by_any_queue(news: SimpleNamespace) -> None:
    """The queue says where to look for it, the event what it is."""
    body = wire.body([wire.view(news.ada), wire.hit()], VIEWS)

    assert apply([Delivery(body, VIEWS)], now=NOW) == Totals(applied=2)


def test_a_site_without_time_zones_is_served_too(news: SimpleNamespace, settings: Any) -> None:
    """With USE_TZ off the database keeps local times."""
    settings.USE_TZ = False

    assert send(wire.view(news.ada), wire.hit(), wire.action(news.ada, "read"), wire.hit("<b>")) == Totals(
        applied=3, dead=1
    )
    assert list(labels()) == [("home", "None", "None", date(2026, 6, 15))]


def test_the_clock_is_the_machines_where_none_is_given() -> None:
    """Outside of tests nobody passes the time."""
    now = datetime.now(UTC)
    body = wire.body([wire.hit(at=now)], message_timestamp=int(now.timestamp() * 1000))

    assert apply([Delivery(body, INCREMENTS)]) == Totals(applied=1)


def test_thousands_of_actions_in_one_unit_are_joined_in_a_bounded_time(news: SimpleNamespace) -> None:
    """Each is compared with the hundred before it, not with all: 4,000 would be eight million comparisons."""
    compared = 0

    class Counting(ActionHandler):
        verb = "archived"

        @classmethod
        def group(cls, newer: Draft, older: Draft) -> bool:
            nonlocal compared
            compared += 1
            return False

    many = [wire.action(news.ada, "archived", article, data={"n": n}) for n in range(1000) for article in news.articles]

    assert send(*unit_of(*many)).applied == len(many)
    assert compared <= 100 * len(many)


@pytest.mark.parametrize("twice", [b'"args":1,', b'"args":[],', b'"args":[[]],', b'"args":[[1],[2]],'])
def test_a_message_with_two_args_is_a_dead_letter(news: SimpleNamespace, twice: bytes) -> None:
    """JSON allows a name to stand twice; which of them counts is not for us to guess."""
    body = wire.body([b'{"kind":"action","data":{"x":NaN}}'])
    doubled = body.replace(b'"args"', twice + b'"args"', 1)
    assert doubled != body

    totals = deliver(doubled, wire.body([wire.hit()]))

    assert totals.applied == 1
    assert totals.dead == 1


def test_a_level_that_is_not_there_is_the_codes_fault_and_writes_nothing(news: SimpleNamespace, settings: Any) -> None:
    """A wrong DEFAULT_LEVEL would otherwise kill every action, one by one."""
    settings.FOOTFALL = {**settings.FOOTFALL, "DEFAULT_LEVEL": "INFOO"}

    with pytest.raises(Fault):
        send(*(wire.action(news.ada, "read") for _ in range(200)))

    assert not DeadLetter.objects.exists()
