"""Pages of actions, by cursors."""

import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from storedactions import at, follow, store

from footfall.storage import feeds
from footfall.storage.actionlists import ActionQuerySet
from footfall.storage.models import Action

BOB = ("auth.user", "77")

LISTS: dict[str, Callable[[User], ActionQuerySet]] = {
    "feed": lambda user: feeds.feed_of(user),
    "feed of a verb": lambda user: feeds.feed_of(user, verb="wrote"),
    "feed, filtered": lambda user: feeds.feed_of(user).filter(verb="wrote"),
    "unread": lambda user: feeds.unread_of(user),
    "stream": lambda user: Action.objects.about(*BOB),
    "all": lambda user: Action.objects.all(),
    "all, in that order": lambda user: Action.objects.order_by("-timestamp", "-pk"),
}


@pytest.fixture
def ann(db: None) -> User:
    user = User.objects.create(username="ann")
    follow(user, BOB)
    return user


@pytest.mark.parametrize("chosen", LISTS)
def test_pages_follow_each_other(chosen: str, ann: User) -> None:
    """Each action once, also those of one moment; the last page, be it full, has no next."""
    stored = [store(BOB, seconds=n // 4) for n in range(12)]
    rows = LISTS[chosen](ann)

    first = rows.page(4)
    second = rows.page(4, after=first.next)
    third = rows.page(4, after=second.next)

    assert [*first, *second, *third] == sorted(stored, key=lambda one: (one.timestamp, one.pk), reverse=True)
    assert first.next and second.next and third.next == ""


@pytest.mark.parametrize("chosen", LISTS)
def test_what_is_stored_in_between_moves_nothing(chosen: str, ann: User) -> None:
    """Nor does it matter that the action is gone at which a page ended."""
    stored = [store(BOB, seconds=n) for n in range(4)]
    rows = LISTS[chosen](ann)
    first = rows.page(2)
    assert first.actions == [stored[3], stored[2]]

    store(BOB, seconds=9)
    stored[2].delete()

    assert rows.page(2, after=first.next).actions == [stored[1], stored[0]]


def test_a_page_is_a_sequence_of_a_kind(ann: User) -> None:
    """For templates: it can be looped over, counted, and asked whether it is empty."""
    empty = feeds.feed_of(ann).page()
    action = store(BOB)
    page = feeds.feed_of(ann).page()

    assert not empty and len(empty) == 0 and empty.next == ""
    assert page and len(page) == 1 and list(page) == page.actions == [action]


def test_a_page_knows_its_own_actions_only(ann: User, django_assert_num_queries: Any) -> None:
    """What tells that there are more is not among those that load together."""
    for n in range(3):
        store(BOB, targets=[("auth.user", str(1000 + n))], seconds=n)
    page = Action.objects.page(2)

    with django_assert_num_queries(3):  # entries, users, and what is left of those that aren't there
        assert [one.targets for one in page] == [[], []]


def test_deferred_fields_are_not_loaded_for_each_action(ann: User, django_assert_num_queries: Any) -> None:
    """Then the actions don't know whether they are unread. Three queries: the actions, entries, users."""
    bob = User.objects.create(pk=77, username="bob")
    for n in range(9):
        store(bob, seconds=n)
    for rows in (feeds.feed_of(ann).only("verb")[:5], feeds.feed_of(ann).defer("changed")[:5]):
        with django_assert_num_queries(3):
            assert {(one.verb, one.actor) for one in rows} == {("wrote", bob)}
    with django_assert_num_queries(3):
        assert len(feeds.feed_of(ann).only("timestamp").page(5)) == 5


@pytest.mark.parametrize("cursor", ["x", "AAAA", "a" * 31, "a" * 33, "ä" * 32, "=" * 32, "+" * 32, "7" * 31 + "\n", 5])
def test_what_is_no_cursor_is_refused(cursor: Any, db: None) -> None:
    """With an error that a view turns into a 400."""
    with pytest.raises(ValueError, match="no cursor"):
        Action.objects.page(after=cursor)


@pytest.mark.parametrize("since", [2**63 - 1, -(2**63)])
def test_a_cursor_outside_of_the_calendar_is_none(since: int, db: None) -> None:
    """Whoever made it up."""
    cursor = urlsafe_b64encode(since.to_bytes(8, "big", signed=True) + uuid.uuid4().bytes).decode()

    with pytest.raises(ValueError, match="no cursor"):
        Action.objects.page(after=cursor)


@pytest.mark.parametrize("size", [0, -1, 1001, True, 2.0, "20", None])
def test_a_page_has_from_one_to_a_thousand_actions(size: Any, db: None) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="1 to 1000"):
        Action.objects.page(size)


@pytest.mark.parametrize(
    "rows",
    [
        lambda: Action.objects.all()[:9],
        lambda: Action.objects.reverse(),
        lambda: Action.objects.order_by("level"),
        lambda: Action.objects.order_by(),
        lambda: Action.objects.extra(order_by=["level"]),
        lambda: Action.objects.values("verb"),
    ],
)
def test_only_actions_newest_first_have_pages(rows: Callable[[], Any], db: None) -> None:
    """A cursor would lead anywhere else."""
    with pytest.raises(ValueError, match="newest first"):
        rows().page()


def test_cursors_are_texts_for_urls(ann: User) -> None:
    """They need no quoting."""
    for n in range(3):
        store(BOB, seconds=-n * 1e9)

    for page in (Action.objects.page(1), Action.objects.page(2)):
        assert page.next.replace("-", "").replace("_", "").isalnum() and page.next.isascii()


class TestMoments(TestCase):
    """A cursor leads to any moment that an action may have."""

    @hypothesis_settings(max_examples=30, deadline=None)
    @given(times=st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), min_size=2, max_size=4))
    def test_a_cursor_is_exact_to_the_microsecond(self, times: list[datetime]) -> None:
        """Before 1970 as well as after it."""
        for when in times:
            store(BOB, timestamp=when.replace(tzinfo=at(0).tzinfo))
        found, cursor = [], ""
        for _ in times:
            page = Action.objects.page(1, after=cursor)
            found += [one.timestamp for one in page]
            cursor = page.next

        assert found == sorted(found, reverse=True) and len(found) == len(times) and cursor == ""
