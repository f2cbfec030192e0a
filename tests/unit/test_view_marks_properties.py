"""No order, repetition or split into batches of the same marks changes an answer, and all ways to ask agree."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from django.contrib.auth.models import User
from django.db import models, transaction
from django.db.models import DateTimeField, Value
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Article, Topic

from footfall.producers.messages import Ref, View, new_id
from footfall.storage.marks import raise_marks
from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.folding import views

pytestmark = pytest.mark.django_db

START = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
PKS = ("1", "2", "3")
SCOPES = [("", ""), ("newsroom.article", ""), ("newsroom.topic", "")]
OBJECTS = [(label, pk) for label in ("newsroom.article", "newsroom.topic") for pk in PKS]


class Mark(NamedTuple):
    """Something that one of two users did."""

    user: int
    scope: tuple[str, str]
    tick: int
    seen: bool = True
    by_message: bool = False  # through the worker's fold, or written at once


ticks = st.integers(0, 4)
users = st.integers(0, 1)
scopes = st.sampled_from([*SCOPES, *OBJECTS])
marks = st.one_of(
    st.builds(Mark, users, scopes, ticks, seen=st.just(value=True), by_message=st.booleans()),
    st.builds(Mark, users, st.sampled_from(OBJECTS), ticks, seen=st.just(value=False), by_message=st.just(value=False)),
)
histories = st.lists(marks, max_size=14)
examples = settings(
    max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def at(tick: int) -> datetime:
    return START + timedelta(microseconds=tick)


def expected(history: Sequence[Mark], user: int, ref: tuple[str, str], changed: int) -> bool:
    """The rule in plain Python, over all that ever happened: the latest of three scopes decides."""
    mine = [mark for mark in history if mark.user == user and mark.scope in (("", ""), (ref[0], ""), ref)]
    tick, seen = max(((mark.tick, mark.seen) for mark in mine), default=(-1, False))
    return seen and tick >= changed


def write(history: Sequence[Mark], users: Sequence[User], chance: random.Random) -> None:
    """In any order, split anyhow, some of it several times."""
    told = [*history, *(mark for mark in history if chance.random() < 0.4)]
    chance.shuffle(told)
    while told:
        size = chance.randint(1, len(told))
        batch, told = told[:size], told[size:]
        events = [event(mark, users) for mark in batch if mark.by_message]
        views.write(views.fold(events), "default")
        for mark in batch:
            if not mark.by_message:
                raise_marks({(users[mark.user].pk, *mark.scope): at(mark.tick)}, "default", seen=mark.seen)


def event(mark: Mark, users: Sequence[User]) -> View:
    label, key = mark.scope
    ref = Ref(label, key or None) if label else None
    return View(id=new_id(), at=at(mark.tick), user=str(users[mark.user].pk), object=ref)


@pytest.fixture
def readers() -> list[User]:
    for pk in PKS:
        Article.objects.create(pk=int(pk), title=pk)
        Topic.objects.create(slug=pk)
    return [User.objects.create(username=f"u{n}") for n in range(2)]


@examples
@given(histories, st.integers(0, 2**32))
def test_any_order_repetition_and_split_gives_the_same_answers(
    readers: list[User], history: list[Mark], seed: int
) -> None:
    """Views that a worker folds, marks written at once, marks taken back."""
    with transaction.atomic():
        write(history, readers, random.Random(seed))
        for number, user in enumerate(readers):
            tracker = ViewTracker(user)
            for label, pk in OBJECTS:
                thing: models.Model = Article(pk=int(pk)) if label == "newsroom.article" else Topic(pk=pk)
                thing._state.adding = False
                for tick in range(6):
                    assert tracker.has_viewed(thing, at(tick)) == expected(history, number, (label, pk), tick)
        transaction.set_rollback(True)


@examples
@given(histories, st.lists(ticks, min_size=3, max_size=3), st.integers(0, 2**32))
def test_lists_say_what_each_object_says(
    readers: list[User], history: list[Mark], changed: list[int], seed: int
) -> None:
    """In SQL, as flags, as counts, through the marks that a page keeps."""
    with transaction.atomic():
        write(history, readers, random.Random(seed))
        for pk, tick in zip(PKS, changed, strict=True):
            Article.objects.filter(pk=pk).update(updated=at(tick))
        told = Topic.objects.annotate(told=Value(at(changed[0]), DateTimeField()))
        for user in readers:
            tracker = ViewTracker(User.objects.get(pk=user.pk))
            assert_agreement(tracker, Article.objects.order_by("pk"), None)
            assert_agreement(tracker, told.order_by("pk"), "told")
        transaction.set_rollback(True)


def assert_agreement(tracker: ViewTracker, rows: models.QuerySet[Any], field: str | None) -> None:
    answers = [tracker.has_viewed(one, updated_field=field) for one in rows]

    assert [one.seen for one in tracker.annotate(rows, field)] == answers
    assert [one.seen for one in tracker.flag(rows, field)] == answers
    assert [tracker.has_viewed_by_loaded_marks(one, field) for one in rows] == answers
    assert list(tracker.unseen(rows, field)) == [one for one, seen in zip(rows, answers, strict=True) if not seen]
    assert tracker.unseen_count(rows, field) == answers.count(False) == tracker.count_unseen_of(rows, field)
    assert tracker.unseen_count(rows.all()[:2], field) == answers[:2].count(False)
    assert tracker.has_unseen(rows, field) == (False in answers)


@examples
@given(histories, st.integers(0, 2**32))
def test_each_row_is_the_greatest_mark_of_its_scope(readers: list[User], history: list[Mark], seed: int) -> None:
    """With *seen* where both were told of one time; what a wider mark has overtaken may be gone."""
    greatest: dict[tuple[int, tuple[str, str]], tuple[datetime, bool]] = {}
    for mark in history:
        key = (mark.user, mark.scope)
        greatest[key] = max(greatest.get(key, (START, False)), (at(mark.tick), mark.seen))
    deciding = {key: told for key, told in greatest.items() if told[0] > overtaken(greatest, *key)}
    with transaction.atomic():
        write(history, readers, random.Random(seed))
        rows = {
            (readers.index(row.user), (row.object_type, row.object_id)): (row.at, row.seen)
            for row in ViewMark.objects.select_related("user")
        }
        assert deciding.items() <= rows.items()
        assert rows.keys() <= greatest.keys()
        transaction.set_rollback(True)


def overtaken(
    greatest: dict[tuple[int, tuple[str, str]], tuple[datetime, bool]], user: int, scope: tuple[str, str]
) -> datetime:
    """Up to when the user's wider marks overtake one of ``scope``."""
    wider = {("", ""), (scope[0], "")} - {scope}
    return max((greatest[user, one][0] for one in wider if (user, one) in greatest), default=START - timedelta(days=1))
