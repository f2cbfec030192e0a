"""How many statements a feed takes, with few trackers and with many."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, Note, Page, Topic
from storedactions import follow, store

from footfall.storage import feeds
from footfall.storage.models import Action, ActionObject

KINDS = (Article, Page, Topic, Note, User)


@pytest.fixture
def ann(db: None) -> User:
    return User.objects.create(username="ann")


def made(model: type[models.Model], n: int) -> models.Model:
    if model is Topic:
        return Topic.objects.create(slug=f"topic-{n}")
    return model._default_manager.create(**{"username" if model is User else "title": f"{n}"})


def follow_and_store(user: User, trackers: int) -> None:
    """So many trackers, over five types, and for each a new action: of one whom it follows, or about it."""
    actor = made(User, 10_000)
    for n in range(trackers):
        tracked = made(KINDS[n % 5], n)
        follow(user, tracked, *(["wrote"] if n % 2 else []), actor_only=n % 10 == 9)
        if isinstance(tracked, User):
            store(tracked, "wrote", seconds=n)
        else:
            store(actor, "wrote", [tracked], [made(User, 20_000 + n)], seconds=n)


def queries(ask: Callable[[], Any]) -> tuple[int, Any]:
    with CaptureQueriesContext(connection) as captured:
        answer = ask()
    return len(captured), answer


def shown(page: Any) -> int:
    """Of how many types the objects are that a page shows."""
    return ActionObject.objects.filter(action__in=list(page)).values("object_type").distinct().count()


@pytest.mark.parametrize("trackers", [1, 20, 500])
def test_ac_60_the_number_of_queries_does_not_grow_with_trackers_and_actions(trackers: int, ann: User) -> None:
    """A page of 20 takes six and one for each type that it shows, its rendering none, what is unread is one."""
    follow_and_store(ann, trackers)

    asked, page = queries(lambda: feeds.feed_of(ann).page(20))
    assert len(page) == min(trackers, 20) and asked <= 6 + shown(page)
    again, _ = queries(lambda: feeds.feed_of(ann, include_own=True).page(20, after=page.next or ""))
    assert again <= 6 + 5
    sliced, rows = queries(lambda: list(feeds.feed_of(ann)[:20]))
    assert rows == page.actions and sliced == asked
    assert queries(lambda: feeds.unread_count_of(ann)) == (1, trackers)
    rendered, texts = queries(lambda: Action.bulk_render(page, ann))
    assert rendered == 0 and len(texts) == len(page) and all(texts)
    assert queries(lambda: [one.is_unread_for(ann) for one in page])[0] == 0


def test_ac_60_a_feed_that_is_not_limited_loads_its_objects_when_they_are_asked_for(ann: User) -> None:
    """For all of its actions at once."""
    follow_and_store(ann, 20)

    asked, rows = queries(lambda: list(feeds.feed_of(ann)))
    assert asked == 1 and len(rows) == 20
    asked, _ = queries(lambda: [(one.actor, one.targets, one.related) for one in rows])
    assert asked <= 2 + 5


def test_objects_of_an_iterator_load_by_its_chunks(ann: User) -> None:
    """A chunk is what is in memory together."""
    follow_and_store(ann, 20)

    asked, _ = queries(lambda: [one.actor for one in Action.objects.iterator(chunk_size=10)])

    assert asked <= 1 + 2 * (2 + 5)


def test_without_track_unread_a_feed_asks_nothing_of_marks(ann: User, settings: Any) -> None:
    """Nor of trackers, beyond choosing by them."""
    follow_and_store(ann, 20)
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_UNREAD": False}

    with CaptureQueriesContext(connection) as captured:
        page = feeds.feed_of(ann).page(20)

    assert len(page) == 20 and not [one for one in captured if "viewmark" in one["sql"]]
    assert len(captured) <= 3 + shown(page)
