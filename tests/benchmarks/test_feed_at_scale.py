"""Feeds and unread counts of a site with 1,000,000 actions and trackers, on PostgreSQL: by indexes only.

That is asserted, of the plan of each query that a page asks, with what the query was run to its end. How long it took
is printed, and never asserted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import pytest
from benchmarks import largesite
from benchmarks.figures import Figures
from benchmarks.largesite import ACTIONS, CHOOSY, FOLLOWER_OF_MODELS, READER, USERS, label, table
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article
from pytest_django import DjangoDbBlocker

from footfall.producers.messages import Action as ActionEvent
from footfall.producers.messages import Ref, encode_event, encode_message, new_id
from footfall.producers.queues import ACTIONS as QUEUE
from footfall.storage.models import Action, ActionObject, Tracker, ViewMark
from footfall.workers.pipeline import Delivery, apply

pytestmark = [pytest.mark.usefixtures("large_site"), pytest.mark.django_db]

#: Follows ten objects, as nearly everybody does, and marked nothing.
COMMON = 4_712
#: A thousand rows on six pages of the disk: an index would be no quicker.
SMALL = {Group._meta.db_table}

PAGE = 20
ROUNDS = 7
STORED = 1_000
TITLE = f"{ACTIONS:,} actions, {USERS:,} users, {ACTIONS:,} trackers (medians of {ROUNDS})"


@pytest.fixture(scope="module")
def large_site(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Made once, and gone after the last test of this module."""
    with django_db_blocker.unblock():
        largesite.build()
    yield
    with django_db_blocker.unblock():
        largesite.remove()


@pytest.fixture(scope="module", autouse=True)
def head(figures: Figures) -> None:
    figures.add(TITLE, "", "ms", "queries", "in PostgreSQL", "buffers")


# -- Plans


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", []):
        yield from steps(below)


def explained(sql: str) -> dict[str, Any]:
    """The plan of a query that was run to its end."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql.replace('%', '%%')}")
        [[found]] = cursor.fetchall()
    [whole] = json.loads(found) if isinstance(found, str) else found
    assert isinstance(whole, dict)
    return whole


def measured(work: Callable[[], object]) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """The plans of all that ``work`` asks, and what it costs as cells of a table."""
    with CaptureQueriesContext(connection) as captured:
        work()
    plans = [explained(query["sql"]) for query in captured.captured_queries]
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1000)
    inside = sum(plan["Execution Time"] for plan in plans)
    buffers = sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in plans)
    return plans, (f"{median(times):.1f}", str(len(plans)), f"{inside:.1f}", f"{buffers:,}")


def scanned(plans: Sequence[dict[str, Any]]) -> set[str]:
    """The tables that are read from one end to the other."""
    found = (step for plan in plans for step in steps(plan["Plan"]))
    return {step["Relation Name"] for step in found if step["Node Type"] == "Seq Scan"} - SMALL


def tables_read(plans: Sequence[dict[str, Any]]) -> set[str]:
    """The tables that are read at all."""
    return {step["Relation Name"] for plan in plans for step in steps(plan["Plan"]) if "Relation Name" in step}


def is_found_by_indexes(figures: Figures, name: str, work: Callable[[], object]) -> None:
    """Print what it costs, and fail where a table that grows is read from one end to the other."""
    plans, cells = measured(work)
    figures.add(TITLE, name, *cells)

    assert ActionObject._meta.db_table in tables_read(plans)
    assert not scanned(plans)


# -- What a user sees


def someone(key: int) -> Any:
    """As a request has them: nothing is loaded yet."""
    return User.objects.get(pk=key)


def first_page(user: Any) -> list[Action]:
    return list(user.actions.feed()[:PAGE])


def rendered(user: Any) -> list[str]:
    return Action.bulk_render(first_page(user), user)


def since_following(user: Any) -> list[Action]:
    return list(user.actions.feed(since_following=True)[:PAGE])


def with_their_own(user: Any) -> list[Action]:
    return list(user.actions.feed(include_own=True)[:PAGE])


def of_a_verb(user: Any) -> list[Action]:
    return list(user.actions.feed(verb="retired")[:PAGE])


@pytest.mark.parametrize(
    ("name", "key", "work"),
    [
        pytest.param("500 trackers, first page", READER, first_page, id="500"),
        pytest.param("500 trackers, first page, rendered", READER, rendered, id="500 rendered"),
        pytest.param("500 trackers, since they are followed", READER, since_following, id="500 since following"),
        pytest.param("500 trackers, and the user's own", READER, with_their_own, id="500 and own"),
        pytest.param("500 trackers, a verb of 1 in 10,000", READER, of_a_verb, id="500, rare verb"),
        pytest.param("10 trackers, first page", COMMON, first_page, id="10"),
        pytest.param("10 trackers of the busiest, a rare verb", CHOOSY, first_page, id="choosy"),
        pytest.param("12 trackers and two whole models", FOLLOWER_OF_MODELS, first_page, id="models"),
    ],
)
def test_ac_60_a_feed_is_found_by_indexes(
    figures: Figures, name: str, key: int, work: Callable[[Any], list[Any]]
) -> None:
    """Its first page, with all that its actions are about."""
    user = someone(key)
    assert len(work(user)) == PAGE or key == CHOOSY

    is_found_by_indexes(figures, f"feed: {name}", lambda: work(user))


def test_ac_60_later_pages_are_found_by_indexes(figures: Figures) -> None:
    """The fifth, by the cursor of the fourth."""
    feed = someone(READER).actions.feed()
    pages = [feed.page(PAGE)]
    while len(pages) < 5:
        pages.append(feed.page(PAGE, after=pages[-1].next))
    shown = [action.id for page in pages for action in page]
    assert shown == [action.id for action in feed[: 5 * PAGE]]

    is_found_by_indexes(figures, "feed: 500 trackers, fifth page", lambda: feed.page(PAGE, after=pages[3].next))


def test_what_was_done_to_an_object_is_found_by_indexes(figures: Figures) -> None:
    """The first page of the busiest one's stream."""
    article: Any = Article.objects.get(pk=1)

    is_found_by_indexes(figures, "stream of the busiest article", lambda: list(article.actions.all()[:PAGE]))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("500 trackers", READER, id="500"),
        pytest.param("10 trackers", COMMON, id="10"),
        pytest.param("10 trackers of the busiest, a rare verb", CHOOSY, id="choosy"),
        pytest.param("12 trackers and two whole models", FOLLOWER_OF_MODELS, id="models"),
    ],
)
@pytest.mark.parametrize("read", [True, False], ids=["an hour ago", "never"])
def test_ac_60_unread_is_counted_by_indexes(figures: Figures, name: str, key: int, read: bool) -> None:
    """Where all was read an hour ago, and a few since, one by one; and where nothing ever was."""
    user = someone(key)
    if read:
        now = datetime.now(UTC)
        ViewMark.objects.create(user=user, object_type=label(Action), at=now - timedelta(hours=1))
        for action in first_page(user)[::3]:
            ViewMark.objects.create(user=user, object_type=label(Action), object_id=str(action.id), at=now)
    count = Action.unread_count(user)
    assert count == plainly_unread(user)

    title = f"unread: {name}, {'read an hour ago' if read else 'nothing read'} ({count:,})"
    is_found_by_indexes(figures, title, lambda: Action.unread_count(user))


# -- That it is right


def plainly(user: Any, condition: str = "true") -> list[Any]:
    """The ids of a user's feed, newest first, by a plain join of all entries with the trackers."""
    joined = f"""
        SELECT action_id, timestamp FROM {table(ActionObject)} AS entry
        JOIN {table(Tracker)} AS tracker ON tracker.user_id = %s AND object_type = tracked_type
         AND (role = 'a' OR NOT actor_only) AND (verbs = '[]' OR verbs ? verb) AND NOT excluded ? verb
        WHERE level >= 30 AND {condition} AND
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"{joined} tracked_id = object_id UNION {joined} tracked_id = '' ORDER BY timestamp DESC, action_id DESC",
            [user.pk, user.pk],
        )
        return [action for action, _ in cursor.fetchall()]


def plainly_unread(user: Any) -> int:
    """How many of them are unread: renewed since they are followed, changed since any mark."""
    marked = f"""
        SELECT FROM {table(ViewMark)} AS mark
        WHERE mark.user_id = tracker.user_id AND mark.object_type = '{label(Action)}'
          AND mark.object_id IN ('', action_id::text) AND mark.at >= entry.changed
    """
    return len(plainly(user, f"renewed >= last_updated AND NOT EXISTS ({marked})"))


@pytest.mark.parametrize("key", [READER, CHOOSY, FOLLOWER_OF_MODELS, COMMON])
def test_ac_60_the_first_page_is_that_of_a_plain_join(key: int) -> None:
    user = someone(key)

    assert [action.id for action in first_page(user)] == plainly(user)[:PAGE]


# -- Storing


def test_a_thousand_actions_are_stored(figures: Figures) -> None:
    """Each with three targets, in one batch, as a worker does it, with its statement time-out."""

    def batch() -> list[Delivery]:
        refs = [Ref(label(model), "1") for model in (Article, User, Group)]
        events = [
            ActionEvent(
                id=new_id(),
                at=datetime.now(UTC),
                actor=Ref(label(User), str(n % 97 + 1)),
                verb="liked",
                targets=[Ref(ref.type, str((n * place) % 999 + 1)) for place, ref in enumerate(refs, 1)],
            )
            for n in range(STORED)
        ]
        lines = [encode_event(event) for event in events]
        return [
            Delivery(encode_message(QUEUE, new_id(), int(time.time() * 1000), lines[n : n + 200]), QUEUE)
            for n in range(0, STORED, 200)
        ]

    times = []
    for _ in range(ROUNDS):
        deliveries = batch()
        start = time.perf_counter()
        assert apply(deliveries).applied == STORED
        times.append((time.perf_counter() - start) * 1000)
    figures.add(TITLE, f"store {STORED:,} actions with three targets", f"{median(times):.1f}", "", "", "")
