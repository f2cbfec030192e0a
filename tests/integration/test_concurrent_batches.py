"""Batches that touch the same rows in any order, on PostgreSQL, from several connections at once."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from django.db import connections
from newsroom.models import Article, ArticleTotals

from footfall.producers.messages import Increment, LabelKey, Ref, View, encode_event, encode_message, new_id
from footfall.producers.queues import INCREMENTS
from footfall.storage.models import DeadLetter, Statistic, ViewMark
from footfall.workers.pipeline import Delivery, apply

pytestmark = pytest.mark.django_db(transaction=True)

THREADS, BATCHES, EVENTS = 4, 40, 60


def batch(rng: random.Random, articles: list[Article], users: list[User]) -> list[Delivery]:
    """Rising and falling counters, custom operations, labels and marks, shuffled."""
    now = datetime.now(UTC)
    events: list[Increment | View] = []
    for _ in range(EVENTS):
        ref = Ref("newsroom.article", str(rng.choice(articles).pk))
        field, op = rng.choice([("views", "incr"), ("views", "decr"), ("score", "decr"), ("peak", "record_peak")])
        value = 1000 if (field, op) == ("views", "incr") else 1
        count = {"dataset": "newsroom.articletotals", "object": ref, "field": field, "op": op, "value": value}
        events.append(Increment(id=new_id(), at=now, **count))  # type: ignore[arg-type]  # a dict of its fields
        events.append(Increment(id=new_id(), at=now, label=LabelKey(f"l{rng.randrange(9)}")))
        events.append(View(id=new_id(), at=now, user=str(rng.choice(users).pk), object=rng.choice([ref, None])))
    raws = list(map(encode_event, events))
    return [
        Delivery(encode_message(INCREMENTS, new_id(), int(time.time() * 1000), raws[n : n + 20]), INCREMENTS)
        for n in range(0, len(raws), 20)
    ]


def test_no_batch_waits_in_a_circle() -> None:
    """Four connections, shuffled batches: not one fails, so none has to be tried again, and the sums are exact."""
    articles = [Article.objects.create(title=str(n)) for n in range(10)]
    users = [User.objects.create(username=str(n)) for n in range(5)]
    failures: list[Exception] = []
    applied: list[int] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            applied.extend(apply(batch(rng, articles, users)).applied for _ in range(BATCHES))
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=[seed]) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    assert failures == []
    assert sum(applied) == THREADS * BATCHES * EVENTS * 3
    assert sum(Statistic.objects.values_list("counter", flat=True)) == THREADS * BATCHES * EVENTS
    assert set(ArticleTotals.objects.values_list("peak", flat=True)) == {1}
    assert ViewMark.objects.filter(object_type="").count() == len(users)
    assert not DeadLetter.objects.exists()
