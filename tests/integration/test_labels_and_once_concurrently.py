"""New labels and visitors that count once, on PostgreSQL, from several connections at once."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone
from newsroom.models import Article, ArticleDaily

from footfall.producers.messages import Increment, LabelKey, Once, Ref, encode_event, encode_message, new_id
from footfall.producers.queues import INCREMENTS
from footfall.storage.models import CountedOnce, DeadLetter, KnownLabel, Statistic
from footfall.workers.folding import labels
from footfall.workers.pipeline import Delivery, apply

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]

THREADS = 4
CAP = 50
NOW = datetime.now(UTC)


def message(events: Sequence[Increment]) -> Delivery:
    return Delivery(
        encode_message(INCREMENTS, new_id(), int(time.time() * 1000), [*map(encode_event, events)]), INCREMENTS
    )


def hits(names: Sequence[str]) -> list[Increment]:
    now = datetime.now(UTC)
    return [Increment(id=new_id(), at=now, label=LabelKey(name)) for name in names]


def at_once(work: Callable[[int], None]) -> None:
    """Do ``work`` in as many threads, each with a connection of its own; what one raises is raised here."""
    failures: list[Exception] = []
    together = threading.Barrier(THREADS)

    def run(seed: int) -> None:
        try:
            together.wait(30)
            work(seed)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[seed]) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


@pytest.fixture
def _small_cap(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_NEW_LABELS_PER_DAY": CAP}


def total() -> int:
    return sum(Statistic.objects.values_list("counter", flat=True))


@pytest.mark.usefixtures("_small_cap")
def test_tr_14_concurrent_folds_never_exceed_the_cap_and_lose_no_hit() -> None:
    """Floods of different labels and some that all have, in any order: no deadlock, the cap to a label, every hit."""

    def flood(seed: int) -> None:
        rng = random.Random(seed)
        for batch in range(20):
            names = [f"shared {n}" for n in range(10)] + [f"own {seed} {batch} {n}" for n in range(10)]
            rng.shuffle(names)
            assert apply([message(hits(names[:10])), message(hits(names[10:]))]).applied == 20

    at_once(flood)

    assert total() == THREADS * 20 * 20
    assert KnownLabel.objects.exclude(label="(other)").count() == CAP
    assert Statistic.objects.count() == CAP + 1
    assert not DeadLetter.objects.exists()


def test_tr_08_and_14_workers_that_first_see_labels_at_once_lose_none() -> None:
    """All see the same new labels in the same moment, each in another order."""
    names = [f"label {n}" for n in range(100)]

    def see(seed: int) -> None:
        mixed = random.Random(seed).sample(names, len(names))
        assert apply([message(hits(mixed))]).applied == 100

    at_once(see)

    assert set(Statistic.objects.values_list("counter", flat=True)) == {THREADS}
    assert Statistic.objects.count() == KnownLabel.objects.count() == 100


@pytest.mark.usefixtures("_small_cap")
def test_when_a_day_is_full_nobody_waits() -> None:
    """While another transaction holds the lock for new labels, a flood of strangers is counted all the same."""
    apply([message(hits([f"known {n}" for n in range(CAP)]))])
    done: list[int] = []

    def flood() -> None:
        try:
            done.append(apply([message(hits(["stranger", "known 1"]))]).applied)
        finally:
            connections.close_all()

    with transaction.atomic():
        labels._lock("default")
        thread = threading.Thread(target=flood)
        thread.start()
        thread.join(8)

    assert done == [2]  # before the lock was let go
    assert dict(Statistic.objects.values_list("label", "counter"))["(other)"] == 1


def visits(article: Article, tokens: Sequence[uuid.UUID], at: datetime) -> list[Increment]:
    return [
        Increment(
            id=new_id(),
            at=at,
            dataset="newsroom.articledaily",
            object=Ref("newsroom.article", str(article.pk)),
            field="views",
            once=Once(token, NOW + timedelta(days=1)),
        )
        for token in tokens
    ]


def test_a_visitor_counts_once_whoever_applies_the_visits() -> None:
    """Each thread has all the visitors, some earlier and some later, in an order of its own: no deadlock, one count."""
    articles = [Article.objects.create(title=str(n)) for n in range(3)]
    tokens = [[uuid.uuid4() for _ in range(40)] for _ in articles]
    ages = [0, 1, 2, 3]

    def visit(seed: int) -> None:
        rng = random.Random(seed)
        for age in rng.sample(ages, len(ages)):
            events = [
                event
                for article, visitors in zip(articles, tokens, strict=True)
                for event in visits(article, visitors, NOW - timedelta(days=age))
            ]
            rng.shuffle(events)
            for start in range(0, len(events), 30):
                assert apply([message(events[start : start + 30])]).applied == 30

    at_once(visit)

    first = timezone.localtime(NOW - timedelta(days=3)).date()
    assert set(ArticleDaily.objects.filter(views__gt=0).values_list("collected_during", "views")) == {(first, 40)}
    assert set(CountedOnce.objects.values_list("at", flat=True)) == {NOW - timedelta(days=3)}
    assert not DeadLetter.objects.exists()


def test_a_visit_waits_for_the_one_that_is_being_counted() -> None:
    """Until that is committed or rolled back: then it is a repeat, or counts in its place."""
    article = Article.objects.create(title="News")
    token = uuid.uuid4()
    done: list[int] = []

    def visit() -> None:
        try:
            done.append(apply([message(visits(article, [token], NOW))]).applied)
        finally:
            connections.close_all()

    for roll_back in (True, False):
        with transaction.atomic():
            apply([message(visits(article, [token], NOW))])
            thread = threading.Thread(target=visit)
            thread.start()
            thread.join(1)
            waited = thread.is_alive() and not done
            transaction.set_rollback(roll_back)
        thread.join(10)
        assert waited and done == [1]
        assert ArticleDaily.objects.get().views == 1
        done.clear()
        CountedOnce.objects.all().delete()
        ArticleDaily.objects.all().delete()
