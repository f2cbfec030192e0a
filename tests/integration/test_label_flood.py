"""A million labels that strangers made up: every hit counts, and the rows stay few."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.db.models import Sum
from django.test import Client
from wire import NOW

from footfall.producers.messages import encode_message
from footfall.producers.queues import INCREMENTS
from footfall.storage.models import DeadLetter, KnownLabel, Statistic
from footfall.workers.pipeline import Delivery, apply
from footfall.workers.testing import drain

CAP = 500
LABELS = 1_000_000
PER_MESSAGE = 1000
PER_BATCH = 50

OTHER = "(other)"


@pytest.fixture(autouse=True)
def _bounds(settings: Any) -> Iterator[None]:
    settings.FOOTFALL = {
        **settings.FOOTFALL,
        "MAX_NEW_LABELS_PER_DAY": CAP,
        "TRACK_LABELS_PER_MINUTE": 10**9,
        "FILTER_SPIDERS": False,
    }
    caches["default"].clear()
    with time_machine.travel(NOW, tick=False):
        yield
    caches["default"].clear()


def delivery(first: int) -> Delivery:
    """A message with hits of labels that nobody has sent yet."""
    at = NOW.isoformat()
    event = '{"kind":"increment","id":"%s","at":"%s","label":{"label":"flood %d","category":"c%d","dom_id":"d%d"}}'
    events = [
        (event % (uuid.UUID(int=number), at, number, number % 7, number % 11)).encode()
        for number in range(first, first + PER_MESSAGE)
    ]
    return Delivery(encode_message(INCREMENTS, uuid.uuid4(), int(NOW.timestamp() * 1000), events), INCREMENTS)


def total() -> int:
    return int(Statistic.objects.aggregate(total=Sum("counter"))["total"])


@pytest.mark.django_db(transaction=True)
def test_a_million_labels_are_a_bounded_number_of_rows() -> None:
    """Through the pipeline; one for each new label that there is room for, and one for all others."""
    apply([Delivery(body=delivery(0).body, queue=INCREMENTS)])
    for start in range(PER_MESSAGE, LABELS, PER_MESSAGE * PER_BATCH):
        firsts = range(start, min(start + PER_MESSAGE * PER_BATCH, LABELS), PER_MESSAGE)
        assert apply([delivery(first) for first in firsts]).applied == PER_MESSAGE * len(firsts)

    assert total() == LABELS
    assert Statistic.objects.count() <= CAP + 1
    assert KnownLabel.objects.exclude(label=OTHER).count() <= CAP
    assert Statistic.objects.get(label=OTHER).counter == LABELS - CAP
    assert not DeadLetter.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_thousands_of_labels_through_the_end_point_are_bounded_as_well() -> None:
    """Each request full; and a label of the site's own that was known before goes on under its name."""
    client = Client()

    def send(*labels: str) -> None:
        assert client.post("/footfall/track/", "|".join(labels), content_type="text/plain").content == b"ok"

    send("home:nav:logo")
    drain()
    for start in range(0, 4000, 20):
        send(*(f"flood-{number}:c:d{number}" for number in range(start, start + 20)))
    send("home:nav:logo")
    drain()

    assert total() == 4002
    assert Statistic.objects.count() <= CAP + 1
    assert Statistic.objects.get(label="home").counter == 2
    assert Statistic.objects.get(label=OTHER).counter == 4000 - (CAP - 1)
    assert not DeadLetter.objects.exists()
