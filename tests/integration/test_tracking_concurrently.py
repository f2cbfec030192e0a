"""Follow and unfollow on PostgreSQL, from several connections at once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.db import connections
from newsroom.models import Article, Topic

from footfall.producers.messages import Action, Ref
from footfall.producers.testing import captured_messages
from footfall.storage.actions import track, untrack
from footfall.storage.models import Tracker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("stack_settings")]

THREADS = 4
ROUNDS = 15


def at_once(work: Callable[[int], None]) -> None:
    """Do ``work`` in as many threads, each with a connection of its own; what one raises is raised here."""
    failures: list[Exception] = []
    together = threading.Barrier(THREADS)

    def run(number: int) -> None:
        try:
            together.wait(30)
            work(number)
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []


@pytest.fixture
def topics() -> list[Topic]:
    return Topic.objects.bulk_create(Topic(slug=f"topic {n}") for n in range(40))


def test_ac_24_tracked_by_all_at_once_there_is_one_tracker(topics: list[Topic]) -> None:
    """Of each object, whatever the order in which each names them; and no deadlock."""
    ada = User.objects.create(username="ada")

    def follow(number: int) -> None:
        rng = random.Random(number)
        for _ in range(ROUNDS):
            track(ada, [*rng.sample(topics, len(topics)), Article], verbs=str(number))

    at_once(follow)
    assert Tracker.objects.count() == len(topics) + 1
    assert {len(tracker.verbs) for tracker in Tracker.objects.all()} == {1}


def test_ac_26_of_many_who_track_the_same_at_once_one_says_that_it_is_new(topics: list[Topic]) -> None:
    """And of those who untrack it, one says that it is gone."""
    ada = User.objects.create(username="ada")
    said: list[Action] = []

    def follow(number: int) -> None:
        rng = random.Random(number)
        with captured_messages() as messages:
            for _ in range(ROUNDS):
                track(ada, rng.sample(topics, 20), log=True)
                untrack(ada, rng.sample(topics, 20), log=True)
        said.extend(message.event for message in messages if isinstance(message.event, Action))

    at_once(follow)
    told = {verb: _about(verb, said) for verb in ("started tracking", "stopped tracking")}
    left = Counter(tracker.tracked_ref for tracker in Tracker.objects.all())
    assert told["started tracking"] == told["stopped tracking"] + left


def _about(verb: str, events: list[Action]) -> Counter[Ref]:
    return Counter(ref for event in events if event.verb == verb for ref in event.targets)


def test_ac_40_verbs_that_are_taken_out_at_once_are_all_gone(topics: list[Topic]) -> None:
    """None is put back by another who had read it before."""
    ada = User.objects.create(username="ada")
    verbs = [[f"{number} {n}" for n in range(ROUNDS)] for number in range(THREADS)]
    every = [verb for some in verbs for verb in some]
    track(ada, topics, verbs=[*every, "kept"])
    track(ada, Topic)

    def unfollow(number: int) -> None:
        rng = random.Random(number)
        for verb in verbs[number]:
            untrack(ada, [*rng.sample(topics, len(topics)), Topic], verbs=verb)

    at_once(unfollow)
    assert {tuple(tracker.verbs) for tracker in Tracker.objects.exclude(tracked_id="")} == {("kept",)}
    assert set(Tracker.objects.get(tracked_id="").excluded) == set(every)


def test_whoever_tracks_last_is_tracking_though_others_untrack(topics: list[Topic]) -> None:
    """What was tracked after the last of the others has answered stands."""
    ada = User.objects.create(username="ada")

    def follow(number: int) -> None:
        rng = random.Random(number)
        for _ in range(ROUNDS):
            some = rng.sample(topics, 20)
            (untrack if rng.random() < 0.5 else track)(ada, some)
            if number == 0:
                track(ada, Article, verbs="read")
                assert Tracker.objects.filter(tracked_type="newsroom.article", verbs=["read"]).exists()

    at_once(follow)
    track(ada, topics)
    assert Tracker.objects.count() == len(topics) + 1
