"""The hot paths, each beside what it replaces: read the ratios within one run, not the absolute figures.

Run with ``make bench``; nothing here asserts a time.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import msgspec
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F
from django.test import RequestFactory
from dramatiq.brokers.stub import StubBroker
from newsroom.models import Article, ArticleDaily

from footfall.producers import publish_action, publish_increment, publish_view, scope
from footfall.producers.messages import Action, Increment, LabelKey, Once, Ref, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS, INCREMENTS
from footfall.producers.spool import current_spool
from footfall.spiders.refresh import package_rows
from footfall.spiders.search import SpiderMatcher
from footfall.storage.actions import track
from footfall.storage.models import Action as StoredAction
from footfall.storage.upsert import add, upsert
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.decoding import decode_event
from footfall.workers.pipeline import Delivery, apply

pytestmark = pytest.mark.django_db(transaction=True)

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
EVENTS = 1000

Benchmark = Callable[..., Any]


@pytest.fixture
def articles() -> list[Article]:
    Article.objects.bulk_create([Article(title=str(n)) for n in range(100)])
    return list(Article.objects.all())


def increment(article: Article) -> Increment:
    return Increment(
        id=new_id(),
        at=datetime.now(UTC),
        dataset="newsroom.articledaily",
        object=Ref("newsroom.article", str(article.pk)),
        field="views",
        user_agent=BROWSER,
    )


def delivery(events: list[bytes], queue: str = INCREMENTS) -> Delivery:
    return Delivery(encode_message(queue, new_id(), int(time.time() * 1000), events), queue)


# -- In the request


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_publish_increment(benchmark: Benchmark, articles: list[Article]) -> None:
    with scope(BROWSER):
        benchmark(publish_increment, articles[0], "views", dataset=ArticleDaily)


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_publish_view(benchmark: Benchmark, articles: list[Article]) -> None:
    user = User.objects.create(username="reader")
    with scope(BROWSER):
        benchmark(publish_view, user, articles[0])


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_publish_action(benchmark: Benchmark, articles: list[Article]) -> None:
    user = User.objects.create(username="reader")
    with scope(BROWSER):
        benchmark(publish_action, user, "liked", articles[0], page=1)


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_instead_a_dramatiq_send_without_a_network(benchmark: Benchmark, articles: list[Article]) -> None:
    broker = StubBroker(middleware=[])
    count = dramatiq.actor(lambda pk, field: None, actor_name="count", broker=broker)
    benchmark(count.send, articles[0].pk, "views")


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_instead_an_update_in_the_view(benchmark: Benchmark, articles: list[Article]) -> None:
    row = ArticleDaily.objects.create(object_type="a", object_id="1", collected_during="2026-01-01")
    benchmark(lambda: ArticleDaily.objects.filter(pk=row.pk).update(views=F("views") + 1))


@pytest.mark.benchmark(group="publish one event, in a scope")
def test_publish_an_increment_that_counts_once(benchmark: Benchmark, articles: list[Article]) -> None:
    request = RequestFactory(headers={"User-Agent": BROWSER}).get("/")
    with scope(BROWSER, request):
        benchmark(publish_increment, articles[0], "views", dataset=ArticleDaily, once_per=timedelta(days=1))


@pytest.mark.benchmark(group="accept one unit of work")
def test_append_to_the_spool(benchmark: Benchmark, articles: list[Article]) -> None:
    line = b'{"unit":"' + str(new_id()).encode() + b'","increments":[' + encode_event(increment(articles[0])) + b"]}"
    assert benchmark(current_spool().append, line)


# -- In the worker


@pytest.mark.benchmark(group="decode one event")
def test_decode_and_check(benchmark: Benchmark, articles: list[Article]) -> None:
    benchmark(decode_event, encode_event(increment(articles[0])))


@pytest.mark.benchmark(group="decode one event")
def test_instead_json_without_checks(benchmark: Benchmark, articles: list[Article]) -> None:
    benchmark(json.loads, encode_event(increment(articles[0])))


@pytest.mark.benchmark(group=f"apply {EVENTS} increments")
@pytest.mark.parametrize("per_message", [1, 100])
def test_apply_a_batch(benchmark: Benchmark, articles: list[Article], per_message: int) -> None:
    def setup() -> tuple[tuple[list[Delivery]], dict[str, Any]]:
        events = [encode_event(increment(article)) for article in itertools.islice(itertools.cycle(articles), EVENTS)]
        parts = [events[n : n + per_message] for n in range(0, EVENTS, per_message)]
        return ([delivery(part) for part in parts],), {}

    totals = benchmark.pedantic(apply, setup=setup, rounds=10, warmup_rounds=1)
    assert totals.applied == EVENTS


@pytest.mark.benchmark(group=f"apply {EVENTS} increments")
@pytest.mark.parametrize("kind", ["known labels", "visitors that count once"])
def test_apply_a_batch_of(benchmark: Benchmark, articles: list[Article], kind: str) -> None:
    def hit(n: int) -> Increment:
        if kind == "known labels":
            return Increment(id=new_id(), at=datetime.now(UTC), label=LabelKey(f"label {n % 100}", "c"))
        once = Once(new_id(), until=datetime.now(UTC) + timedelta(days=1))
        return msgspec.structs.replace(increment(articles[n % 100]), once=once)

    def setup() -> tuple[tuple[list[Delivery]], dict[str, Any]]:
        events = [encode_event(hit(n)) for n in range(EVENTS)]
        return ([delivery(events[n : n + 100]) for n in range(0, EVENTS, 100)],), {}

    totals = benchmark.pedantic(apply, setup=setup, rounds=10, warmup_rounds=1)
    assert totals.applied == EVENTS


@pytest.mark.benchmark(group=f"apply {EVENTS} actions with a target")
@pytest.mark.parametrize("delay", [-1, 60], ids=["not grouped", "grouped with the last minute's"])
def test_apply_a_batch_of_actions(benchmark: Benchmark, articles: list[Article], delay: int) -> None:
    """Ten actors, each of whom does the same to ten articles again and again; each in a request of its own."""

    def like(n: int) -> Action:
        return Action(
            id=new_id(),
            at=datetime.now(UTC),
            unit=new_id(),
            actor=Ref("auth.user", str(n % 10 + 1)),
            verb="liked",
            targets=[Ref("newsroom.article", str(articles[n // 10 % 10].pk))],
            grouping_delay=delay,
        )

    def setup() -> tuple[tuple[list[Delivery]], dict[str, Any]]:
        events = [encode_event(like(n)) for n in range(EVENTS)]
        return ([delivery(events[n : n + 100], ACTIONS) for n in range(0, EVENTS, 100)],), {}

    totals = benchmark.pedantic(apply, setup=setup, rounds=10, warmup_rounds=1)
    assert totals.applied == EVENTS


@pytest.mark.benchmark(group=f"apply {EVENTS} increments")
def test_instead_one_update_each_in_one_transaction(benchmark: Benchmark, articles: list[Article]) -> None:
    rows = [
        ArticleDaily.objects.create(object_type="a", object_id=str(article.pk), collected_during="2026-01-01")
        for article in articles
    ]

    def update_each() -> None:
        with transaction.atomic():
            for row in itertools.islice(itertools.cycle(rows), EVENTS):
                ArticleDaily.objects.filter(pk=row.pk).update(views=F("views") + 1)

    benchmark.pedantic(update_each, rounds=3)


@pytest.mark.benchmark(group="upsert 1000 rows")
def test_upsert(benchmark: Benchmark) -> None:
    rows = [("a", str(n), "2026-01-01", n) for n in range(1000)]
    key = ("object_type", "object_id", "collected_during")

    def write() -> None:
        with transaction.atomic():
            upsert(ArticleDaily, key, {"views": add}, rows, "default")

    benchmark.pedantic(write, rounds=10, warmup_rounds=1)


@pytest.mark.benchmark(group="spider verdict on a new user agent")
@pytest.mark.parametrize("use_re2", [True, False], ids=["re2", "pure Python"])
def test_spider_verdict(benchmark: Benchmark, use_re2: bool) -> None:
    rows, _ = package_rows()
    matcher = SpiderMatcher([(row.name, row.pattern) for row in rows], use_re2=use_re2)
    fresh = (f"{BROWSER} {n}" for n in itertools.count())
    benchmark(lambda: matcher.match(next(fresh)))


# -- On a page


@pytest.fixture
def tracker(articles: list[Article]) -> ViewTracker:
    """A reader who has seen every other of the hundred articles, and many that are not on the page."""
    user = User.objects.create(username="reader")
    Article.objects.bulk_create([Article(title=f"old {n}") for n in range(5000)])
    ViewTracker(user).mark_viewed(Article.objects.filter(title__startswith="old"))
    ViewTracker(user).mark_viewed(articles[::2])
    return ViewTracker(user)


@pytest.mark.benchmark(group="a list of 100 with what is new to the reader")
def test_annotate(benchmark: Benchmark, tracker: ViewTracker) -> None:
    rows = tracker.annotate(Article.objects.order_by("pk")[:100])
    assert sum(not article.seen for article in benchmark(lambda: list(rows.all()))) == 50


@pytest.mark.benchmark(group="a list of 100 with what is new to the reader")
def test_flag(benchmark: Benchmark, tracker: ViewTracker) -> None:
    rows = Article.objects.order_by("pk")[:100]
    assert sum(not article.seen for article in benchmark(lambda: tracker.flag(rows.all()))) == 50


@pytest.mark.benchmark(group="a list of 100 with what is new to the reader")
def test_instead_a_question_each(benchmark: Benchmark, tracker: ViewTracker) -> None:
    rows = Article.objects.order_by("pk")[:100]
    benchmark.pedantic(lambda: [tracker.has_viewed(article) for article in rows.all()], rounds=5)


@pytest.fixture
def reader(articles: list[Article]) -> Any:
    """Follows a hundred articles, each of which was liked by twenty people."""
    reader = User.objects.create(username="reader")
    track(reader, articles, actor_only=False)
    people = User.objects.bulk_create([User(username=f"user {n}") for n in range(20)])
    likes = [
        Action(
            id=new_id(),
            at=datetime.now(UTC),
            actor=Ref("auth.user", str(user.pk)),
            verb="liked",
            targets=[Ref("newsroom.article", str(article.pk))],
        )
        for user in people
        for article in articles
    ]
    apply([delivery([encode_event(like) for like in likes], ACTIONS)])
    return reader


@pytest.mark.benchmark(group="a feed page of 20 actions, of 2,000 that concern 100 followed objects")
def test_feed(benchmark: Benchmark, reader: Any) -> None:
    assert len(benchmark(lambda: list(reader.actions.feed()[:20]))) == 20


@pytest.mark.benchmark(group="a feed page of 20 actions, of 2,000 that concern 100 followed objects")
def test_bulk_render_a_loaded_page(benchmark: Benchmark, reader: Any) -> None:
    page = list(reader.actions.feed()[:20])
    with scope():
        assert len(benchmark(StoredAction.bulk_render, page, reader)) == 20


@pytest.mark.benchmark(group="a badge: how many of 2,000 actions are unread")
def test_unread_count(benchmark: Benchmark, reader: Any) -> None:
    assert benchmark(StoredAction.unread_count, reader) == 2000


@pytest.mark.benchmark(group="a badge: how many of 5,100 are new")
def test_unseen_count(benchmark: Benchmark, tracker: ViewTracker) -> None:
    assert benchmark(tracker.unseen_count, Article.objects.all()) == 50
