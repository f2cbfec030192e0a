"""Whatever order, repetition and split into batches: the same increments, hits and visits come to the same rows."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import wire
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleHourly, ArticleTotals
from wire import NOW

from footfall.producers.queues import INCREMENTS
from footfall.storage.models import CountedOnce, DeadLetter, KnownLabel, Statistic
from footfall.workers.pipeline import Delivery, apply

pytestmark = pytest.mark.django_db

shuffled = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Recipe(NamedTuple):
    """What becomes an event once there are articles: which of them, whose visit, how much, how many hours ago."""

    kind: str
    which: int
    visitor: int
    value: int
    hours: int


recipes = st.lists(
    st.builds(
        Recipe,
        kind=st.sampled_from(["views", "score", "daily", "hit", "once", "once hourly", "once device", "bad"]),
        which=st.integers(0, 1),
        visitor=st.integers(0, 2),
        value=st.integers(0, 5),
        hours=st.integers(0, 60),
    ),
    max_size=14,
)

#: What a shuffle depends on; shrinking it would teach nothing.
seeds = st.integers(0, 2**32)


@pytest.fixture
def articles(db: None) -> list[Article]:
    return [Article.objects.create(title=str(n)) for n in range(2)]


def cooked(recipe: Recipe, articles: list[Article]) -> wire.Event:
    """The event of a recipe. A visitor's token is the same for the same counter, whatever the hour."""
    article, at = articles[recipe.which], NOW - timedelta(hours=recipe.hours)
    token = uuid.uuid5(uuid.NAMESPACE_OID, f"{recipe.kind} {recipe.which} {recipe.visitor}")
    mark = {"at": at, "once": {"token": str(token), "until": (NOW + timedelta(days=3)).isoformat()}}
    match recipe.kind:
        case "views":
            return wire.increment(article, value=recipe.value)
        case "score":
            return wire.increment(article, "score", op="decr" if recipe.value % 2 else "incr", value=recipe.value)
        case "daily":
            return wire.increment(article, dataset="newsroom.articledaily", value=recipe.value, at=at)
        case "hit":
            return wire.hit("abc"[recipe.visitor], "xy"[recipe.which], at=at)
        case "once":
            return wire.increment(article, dataset="newsroom.articledaily", **mark)
        case "once hourly":
            return wire.increment(article, "score", dataset="newsroom.articlehourly", value=3, **mark)
        case "once device":
            device = {"device": f"device {recipe.visitor}"}
            return wire.increment(article, dataset="newsroom.articlebydevice", options=device, **mark)
        case _:
            return wire.increment(article, dataset="newsroom.articlebydevice", options={"device": recipe.value}, **mark)


@contextmanager
def rolled_back() -> Iterator[None]:
    """What is done in the block is undone at its end: an example leaves nothing to the next."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def rows() -> dict[str, Any]:
    """All that the events came to. A row of zeros says what no row says."""
    series = ("object_id", "collected_during")
    return {
        "totals": set(ArticleTotals.objects.values_list("object_id", "views", "score")),
        "daily": set(ArticleDaily.objects.filter(views__gt=0).values_list(*series, "views")),
        "hourly": set(ArticleHourly.objects.exclude(score=0).values_list(*series, "score")),
        "devices": set(ArticleByDevice.objects.filter(views__gt=0).values_list(*series, "device", "views")),
        "labels": set(Statistic.objects.values_list("label", "category", "dom_id", "day", "counter")),
        "known": set(KnownLabel.objects.values_list("label", "category", "dom_id")),
        "once": set(CountedOnce.objects.values_list("token", "at")),
        "letters": DeadLetter.objects.count(),
    }


def deliver(*bodies: bytes) -> None:
    apply([Delivery(body, INCREMENTS) for body in bodies], now=NOW)


@shuffled
@given(recipes, seeds)
def test_any_order_repetition_and_split_comes_to_the_same(
    articles: list[Article], chosen: list[Recipe], seed: int
) -> None:
    """Once in a single batch; then shuffled, in messages of which some come again, in batches of any size."""
    events, chance = [cooked(recipe, articles) for recipe in chosen], random.Random(seed)
    with rolled_back():
        deliver(wire.body(events))
        expected = rows()
    chance.shuffle(events)
    messages = []
    while events:
        size = chance.randint(1, len(events))
        messages.append(wire.body(events[:size]))
        del events[:size]
    messages += chance.choices(messages, k=3) if messages else []
    chance.shuffle(messages)
    with rolled_back():
        while messages:
            size = chance.randint(1, len(messages))
            deliver(*messages[:size])
            del messages[:size]
        assert rows() == expected


@shuffled
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 80)), min_size=1, max_size=12), seeds)
def test_a_visitor_counts_where_the_first_visit_was(
    articles: list[Article], visits: list[tuple[int, int]], seed: int
) -> None:
    """Held against the plain rule: of each visitor's visits the earliest is one count, in its hour."""
    earliest = {who: max(ago for one, ago in visits if one == who) for who, _ in visits}
    events = [cooked(Recipe("once hourly", 0, who, 0, ago), articles) for who, ago in visits]
    random.Random(seed).shuffle(events)

    with rolled_back():
        for event in events:
            deliver(wire.body([event]))
        counted = {at: score // 3 for _, at, score in rows()["hourly"]}

    moments = [NOW - timedelta(hours=ago) for ago in earliest.values()]
    assert counted == {moment: moments.count(moment) for moment in moments}
