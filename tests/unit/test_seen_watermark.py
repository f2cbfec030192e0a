"""`set_watermark`: what is old is not new to users who were there before; by a call and for all by a command."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, Column, Topic

from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import ViewTracker

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    """It stands at NOW until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def tracker() -> ViewTracker:
    return ViewTracker(User.objects.create(username="reader"))


def run(*arguments: str) -> str:
    told = StringIO()
    call_command("set_watermark", *arguments, stdout=told, stderr=StringIO())
    return told.getvalue()


def test_what_changed_until_then_is_seen(tracker: ViewTracker) -> None:
    """To the microsecond, of one model or of all."""
    article, topic = Article.objects.create(title="a"), Topic.objects.create(slug="t")
    tracker.set_watermark(NOW - DAY, Article)
    assert tracker.has_viewed(article, NOW - DAY)
    assert not tracker.has_viewed(article, NOW - DAY + TICK)
    assert not tracker.has_viewed(topic, NOW - 9 * DAY)

    tracker.set_watermark(NOW - 2 * DAY)
    assert tracker.has_viewed(topic, NOW - 2 * DAY)
    assert tracker.has_viewed(article, NOW - DAY)


def test_it_never_lowers_a_mark(tracker: ViewTracker) -> None:
    """Neither the same nor a narrower one."""
    article, other = Article.objects.create(title="a"), Article.objects.create(title="b")
    tracker.mark_instance_viewed(article)
    tracker.set_watermark(NOW - DAY)
    tracker.set_watermark(NOW - 2 * DAY)

    assert tracker.has_viewed(article, NOW)
    assert tracker.has_viewed(other, NOW - DAY)
    assert not tracker.has_viewed(other, NOW)


@pytest.mark.parametrize("model", [Article, Column, "newsroom.article", "instance"])
def test_the_model_is_named_as_one_likes(tracker: ViewTracker, model: Any) -> None:
    article = Article.objects.create(title="a")
    tracker.set_watermark(NOW, article if model == "instance" else model)
    assert ViewMark.objects.get().object_type == "newsroom.article"


def test_what_was_taken_back_before_is_overtaken(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    """What was taken back later stays unseen."""
    early, late = Article.objects.create(title="a"), Article.objects.create(title="b")
    tracker.mark_unseen(early)
    clock.shift(10)
    tracker.mark_unseen(late)
    tracker.set_watermark(NOW + timedelta(seconds=5))

    assert tracker.has_viewed(early) and not tracker.has_viewed(late)
    assert ViewMark.objects.filter(seen=False).count() == 1


def test_a_time_ahead_of_the_clock_is_refused_beyond_the_skew(tracker: ViewTracker, settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "MAX_CLOCK_SKEW_SECONDS": 60}
    tracker.set_watermark(NOW + timedelta(seconds=60))
    with pytest.raises(ValueError, match="is in the future"):
        tracker.set_watermark(NOW + timedelta(seconds=60) + TICK)


def test_a_time_that_is_none_is_refused(tracker: ViewTracker) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        tracker.set_watermark(datetime(2026, 1, 1))
    for wrong in ("2026-01-01", date(2026, 1, 1), None, 7):
        with pytest.raises(TypeError, match="A time is a datetime"):
            tracker.set_watermark(wrong)  # type: ignore[arg-type]
    assert not ViewMark.objects.exists()


def test_without_time_zones_times_are_the_site_s(tracker: ViewTracker, settings: Any) -> None:
    """Naive ones are taken as they are, aware ones are turned into the site's zone."""
    settings.USE_TZ = False
    article = Article.objects.create(title="a")
    noon = datetime(2026, 6, 14, 12, 0)
    tracker.set_watermark(noon)
    assert ViewMark.objects.get().at == noon
    tracker.set_watermark(datetime(2026, 6, 14, 11, 0, tzinfo=UTC))
    assert ViewMark.objects.get().at == noon + timedelta(hours=1)
    assert tracker.has_viewed(article, noon + timedelta(hours=1))
    assert tracker.has_viewed(article, datetime(2026, 6, 14, 11, 0, tzinfo=UTC))
    assert not tracker.has_viewed(article, noon + timedelta(hours=1, microseconds=1))
    tracker.mark_all_viewed()
    assert not tracker.has_unseen(Article) and tracker.flag([article])[0].seen
    with pytest.raises(ValueError, match="is in the future"):
        tracker.set_watermark(noon + 2 * DAY)


def test_the_command_marks_every_active_user(tracker: ViewTracker) -> None:
    """And says how many it marked, and how many had a later mark."""
    ViewTracker(User.objects.create(username="keen")).mark_all_viewed()
    User.objects.create(username="gone", is_active=False)
    article = Article.objects.create(title="a")

    assert run("2026-06-10T08:30") == "marked:        1\nlater already: 1\n"
    assert ViewMark.objects.get(user=tracker.user).at == datetime(2026, 6, 10, 6, 30, tzinfo=UTC)  # in Berlin
    assert ViewMark.objects.get(user__username="keen").at == NOW
    assert run("2026-06-10T08:30") == "marked:        0\nlater already: 2\n"
    assert run("--users", "all") == "marked:        2\nlater already: 1\n"
    assert all(ViewTracker(user).has_viewed(article, NOW) for user in User.objects.all())


def test_the_command_can_mark_one_model(tracker: ViewTracker) -> None:
    assert run("2026-06-10", "--model", "newsroom.Column") == "marked:        1\nlater already: 0\n"
    mark = ViewMark.objects.get()
    assert (mark.object_type, mark.object_id) == ("newsroom.article", "")
    assert mark.at == datetime(2026, 6, 9, 22, 0, tzinfo=UTC)  # the day begins in Berlin


def test_the_command_s_dry_run_writes_nothing(tracker: ViewTracker) -> None:
    assert run("--dry-run") == "marked:        1\nlater already: 0\nDry run: nothing was written.\n"
    assert not ViewMark.objects.exists()


def test_the_command_does_many_users_in_few_statements(tracker: ViewTracker) -> None:
    """Four for 500 users, beside their keys and the transaction."""
    User.objects.bulk_create(User(username=f"u{n}") for n in range(1200))
    with CaptureQueriesContext(connection) as queries:
        assert run() == "marked:        1201\nlater already: 0\n"

    assert len(queries) <= 3 * 8 + 1
    assert ViewMark.objects.filter(at=NOW, object_type="", object_id="").count() == 1201


def test_the_command_shows_how_far_it_is(tracker: ViewTracker) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    call_command("set_watermark", stdout=StringIO(), stderr=shown)
    assert "1 of 1" in shown.getvalue()
    quiet = Terminal()
    call_command("set_watermark", "--no-progress", stdout=StringIO(), stderr=quiet)
    assert quiet.getvalue() == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["yesterday"], "'yesterday' is not an ISO date or time"),
        (["2026-02-30"], "day is out of range"),
        (["2026-06-16"], "is in the future"),
        (["0001-01-01T00:00"], "before all time"),
        (["--model", "newsroom.Artcle"], r"Did you mean newsroom\.Article"),
        (["--model", "Article"], "not of the form app.Model"),
    ],
)
def test_what_the_command_can_t_mean_is_said(tracker: ViewTracker, arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        run(*arguments)
    assert not ViewMark.objects.exists()
