"""Two replays at once: every letter is applied exactly once, and neither command fails."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from newsroom.models import Article, ArticleDaily, ArticleTotals

from footfall.producers.messages import (
    Action,
    Event,
    Increment,
    LabelKey,
    Ref,
    View,
    encode_event,
    encode_message,
    new_id,
)
from footfall.producers.queues import QUEUE_OF_KIND
from footfall.storage.letters import discard, mend
from footfall.storage.models import Action as StoredAction
from footfall.storage.models import AppliedMessage, DeadLetter, Statistic, Tally, ViewMark
from footfall.workers.pipeline import Delivery, apply
from footfall.workers.replay import CHUNK

pytestmark = pytest.mark.django_db(transaction=True)

ARTICLES = 5
EACH = 3 * CHUNK // ARTICLES


@pytest.fixture
def articles() -> list[Article]:
    return [Article.objects.create(title=f"article {n}") for n in range(ARTICLES)]


@pytest.fixture
def user() -> User:
    return User.objects.create(username="reader")


def events_about(article: Article, user: User, at: datetime) -> list[tuple[str, Event]]:
    """One of each kind, and a label hit; every one of them touches rows that the others touch."""
    ref = Ref("newsroom.article", str(article.pk))

    def counted(dataset: str, field: str) -> Increment:
        return Increment(id=new_id(), at=at, dataset=f"newsroom.{dataset}", object=ref, field=field)

    return [
        ("increment", counted("articletotals", "views")),
        ("action", Action(id=new_id(), at=at, verb="read", actor=Ref("auth.user", str(user.pk)), targets=[ref])),
        ("increment", Increment(id=new_id(), at=at, label=LabelKey("read"))),
        ("view", View(id=new_id(), at=at, user=str(user.pk), object=ref)),
        ("increment", counted("articledaily", "clicks")),
    ]


def bury_all(events: list[tuple[str, Event]]) -> dict[UUID, bytes]:
    """Make each event a letter of its own, dead of an unknown version; returns the bytes that mend it, by message."""
    mended, deliveries = {}, []
    for kind, event in events:
        message_id, raw = new_id(), encode_event(event)
        broken = raw.replace(b'{"kind"', b'{"version":99,"kind"', 1)
        queue = QUEUE_OF_KIND[kind]
        deliveries.append(Delivery(encode_message(queue, message_id, time.time_ns() // 1_000_000, [broken]), queue))
        mended[message_id] = raw
    assert apply(deliveries).dead == len(events)
    return mended


@pytest.fixture
def letters(articles: list[Article], user: User) -> int:
    """Mended letters of all kinds, in mixed order, in several chunks; returns how many."""
    now = datetime.now(UTC)
    events = [pair for _ in range(EACH) for article in articles for pair in events_about(article, user, now)]
    mended = bury_all(events)
    for letter in DeadLetter.objects.all():
        mend(letter, mended[letter.message_id], "ann", now)
    return len(events)


def at_once(*works: Callable[[], object]) -> None:
    """Run ``works`` in threads that begin together. Raises what they raise."""
    barrier = Barrier(len(works))

    def begin(work: Callable[[], object]) -> None:
        barrier.wait(10)
        try:
            work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        for future in [threads.submit(begin, work) for work in works]:
            future.result(120)


def command(said: list[str], *arguments: str) -> Callable[[], None]:
    def run() -> None:
        out = io.StringIO()
        call_command("replay_dead_letters", *arguments, "--no-progress", stdout=out, stderr=out)
        said.append(out.getvalue())

    return run


def replayed(said: list[str]) -> int:
    lines = [line for text in said for line in text.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("replayed:"))


def assert_applied_once(articles: list[Article], letters: int) -> None:
    assert dict(ArticleTotals.objects.values_list("object_id", "views")) == {str(a.pk): EACH for a in articles}
    assert dict(ArticleDaily.objects.values_list("object_id", "clicks")) == {str(a.pk): EACH for a in articles}
    assert Statistic.objects.get().counter == EACH * ARTICLES
    assert StoredAction.objects.count() == EACH * ARTICLES
    assert ViewMark.objects.count() == ARTICLES
    assert set(DeadLetter.objects.values_list("state", flat=True)) == {"replayed"}
    assert sum(Tally.objects.filter(name="replayed").values_list("count", flat=True)) == letters


def test_two_replays_at_once_apply_every_letter_once(articles: list[Article], letters: int) -> None:
    """They share the work: what one has in hand, the other leaves to it."""
    said: list[str] = []

    at_once(command(said), command(said))

    assert_applied_once(articles, letters)
    assert replayed(said) == letters


def test_a_replay_after_two_at_once_changes_nothing(articles: list[Article], letters: int) -> None:
    """Not a row."""
    models = (DeadLetter, AppliedMessage, Tally, ArticleTotals, ArticleDaily, Statistic, StoredAction, ViewMark)
    at_once(command([]), command([]))
    before = [list(model.objects.order_by("pk").values()) for model in models]
    said: list[str] = []

    at_once(command(said), command(said))

    assert [list(model.objects.order_by("pk").values()) for model in models] == before
    assert all("Nothing to replay" in text for text in said)


def test_a_dry_run_beside_a_replay_applies_nothing_twice(articles: list[Article], letters: int) -> None:
    """What the dry run had in hand is left open, and the next replay applies it."""
    at_once(command([], "--dry-run"), command([]))

    call_command("replay_dead_letters", "--no-progress", stdout=io.StringIO())

    assert_applied_once(articles, letters)


def test_a_letter_is_either_replayed_or_discarded(articles: list[Article], letters: int) -> None:
    """A discard beside a replay takes what the replay has not settled, and nothing of it is applied."""
    said: list[str] = []
    discarded: list[int] = []

    at_once(
        command(said),
        lambda: discarded.append(discard(DeadLetter.objects.filter(kind="increment"), "ann", datetime.now(UTC))),
    )

    counted = sum(ArticleTotals.objects.values_list("views", flat=True))
    counted += sum(ArticleDaily.objects.values_list("clicks", flat=True))
    counted += sum(Statistic.objects.values_list("counter", flat=True))
    assert counted + discarded[0] == 3 * EACH * ARTICLES
    assert DeadLetter.objects.filter(state="discarded").count() == discarded[0]
    assert replayed(said) + discarded[0] == letters


def test_two_replays_do_not_wait_for_each_other_in_a_circle(articles: list[Article]) -> None:
    """One begins with views and ends with increments, the other the other way round, on rows of their own."""
    now = datetime.now(UTC)
    readers = [User.objects.create(username=name) for name in ("one", "other")]

    def half_a_chunk(kind: str, whose: int) -> list[tuple[str, Event]]:
        ref = Ref("newsroom.article", str(articles[whose].pk))
        return [(kind, one_of(kind, ref, str(readers[whose].pk), now)) for _ in range(CHUNK // 2)]

    parts = [("view", 0), ("increment", 0), ("increment", 1), ("view", 1)]
    # Part by part, for the letters of one batch are not in the order of its events.
    mended = {number: raw for part in parts for number, raw in bury_all(half_a_chunk(*part)).items()}
    for letter in DeadLetter.objects.all():
        mend(letter, mended[letter.message_id], "ann", now)
    said: list[str] = []

    at_once(command(said), command(said))

    assert replayed(said) == 2 * CHUNK
    assert sorted(ArticleTotals.objects.values_list("views", flat=True)) == [CHUNK // 2] * 2


def one_of(kind: str, ref: Ref, user: str, at: datetime) -> Event:
    if kind == "view":
        return View(id=new_id(), at=at, user=user, object=ref)
    return Increment(id=new_id(), at=at, dataset="newsroom.articletotals", object=ref, field="views")
