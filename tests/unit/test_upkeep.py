"""What workers tidy up beside their work."""

import time
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from newsroom.models import Article, ArticleDaily, ArticleTotals

from footfall.producers import publish_increment
from footfall.producers.messages import new_id
from footfall.storage.models import AppliedMessage, Attempt
from footfall.workers import ledger, upkeep

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


def test_the_ledger_forgets_what_is_too_old_to_be_applied() -> None:
    """A message of LEDGER_DAYS and a day can't come back: it would be refused by its age."""
    ages = [0, 29, 30, 30.9, 31.1, 400]
    for age in ages:
        ledger.enter([new_id()], NOW - timedelta(days=age), "default")

    assert upkeep.tidy_up(NOW) == 2
    assert AppliedMessage.objects.count() == len(ages) - 2
    assert not AppliedMessage.objects.filter(applied_at__lt=NOW - timedelta(days=31)).exists()


def test_a_round_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go first, the rest in later rounds."""
    monkeypatch.setattr(upkeep, "AT_ONCE", 3)
    for age in (50, 40, 60, 70):
        ledger.enter([new_id()], NOW - timedelta(days=age), "default")

    assert upkeep.tidy_up(NOW) == 3
    assert AppliedMessage.objects.get().applied_at == NOW - timedelta(days=40)


def test_starts_that_nobody_settled_are_forgotten() -> None:
    """Their deliveries were settled elsewhere, long ago."""
    for days in (1, 99):
        Attempt.objects.create(key=str(days), owner="gone", count=1, started_at=NOW - timedelta(days=days))

    upkeep.tidy_up(NOW)

    assert [attempt.key for attempt in Attempt.objects.all()] == ["1"]


def test_a_process_tidies_up_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with every batch."""
    rounds: list[datetime] = []
    replays: list[int] = []
    clock = iter([1000.0, 1000.0, 1001.0, 1700.0, 1700.0, 1701.0])
    monkeypatch.setattr(upkeep, "tidy_up", rounds.append)
    monkeypatch.setattr(upkeep, "replay_held", replays.append)
    monkeypatch.setattr(upkeep, "_last", 0.0)
    monkeypatch.setattr("footfall.workers.upkeep.time.monotonic", lambda: next(clock))

    for _ in range(4):
        upkeep.now_and_then()

    assert len(rounds) == len(replays) == 2


@pytest.mark.django_db(transaction=True)
def test_a_worker_applies_what_fold_messages_set_aside() -> None:
    """However the rest of the site is run, it is not forgotten."""
    article = Article.objects.create(title="Set aside")
    publish_increment(article, "views", dataset=ArticleDaily)
    publish_increment(article, "score", dataset=ArticleTotals)
    call_command("fold_messages", "newsroom.ArticleDaily", stdout=StringIO())
    assert not ArticleTotals.objects.exists()

    upkeep._last = time.monotonic() - upkeep.INTERVAL
    upkeep.now_and_then()

    assert ArticleTotals.objects.get().score == 1
    assert ArticleDaily.objects.get().views == 1
