"""Seen marks are held against `updated` of an object that keeps account of itself, in Python and in SQL alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import models
from django.db.models import F
from django.test.utils import isolate_apps
from newsroom.models import Desk, Issue, Magazine, Photo, Publisher, SpecialIssue, Supplement

from footfall.producers import publish_view
from footfall.storage.models import ViewMark
from footfall.storage.references import HandleRefModel
from footfall.storage.viewtracker import NoChangeTime, ViewTracker, change_time
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """It stands at NOW until it is moved."""
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def tracker(db: None) -> ViewTracker:
    return ViewTracker(User.objects.create(username="reader"))


@pytest.fixture
def bulletins() -> Iterator[Any]:
    """Publishers, read by a model that has two times of its own, which are looked for before `updated` elsewhere."""
    with isolate_apps("newsroom"):

        class Bulletin(HandleRefModel):
            name = models.CharField(max_length=100)
            # Any stored time will do that a save doesn't touch.
            last_updated = models.DateTimeField(db_column="created")
            modified = models.DateTimeField(db_column="created")

            class Meta:
                app_label = "newsroom"
                db_table = Publisher._meta.db_table

            def __str__(self) -> str:
                return self.name

        yield Bulletin


def answers(tracker: ViewTracker, rows: Any, **asked: Any) -> list[bool]:
    """Whether each row is seen, as each way to ask says it: they all say the same."""
    listed = list(rows.order_by("pk"))
    seen = [tracker.has_viewed(one, **asked) for one in listed]
    unseen = [one for one, is_seen in zip(listed, seen, strict=True) if not is_seen]
    assert [one.seen for one in tracker.flag(rows.order_by("pk"), **asked)] == seen
    annotated = rows.order_by("pk").annotate(is_seen=tracker.expression(rows, **asked))
    assert [one.is_seen for one in annotated] == seen
    assert list(tracker.unseen(rows, **asked).order_by("pk")) == unseen
    assert tracker.unseen_count(rows, **asked) == len(unseen)
    assert tracker.has_unseen(rows, **asked) is bool(unseen)
    return seen


def test_a_save_makes_it_unseen_and_a_mark_seen_again(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    """The object at hand says so, too, without being read again."""
    publisher = Publisher.objects.create(name="a")
    assert answers(tracker, Publisher.objects.all()) == [False]
    tracker.mark_viewed(publisher)
    assert answers(tracker, Publisher.objects.all()) == [True]
    clock.shift(MINUTE)
    publisher.save()
    assert tracker.has_viewed(publisher) is False
    assert answers(tracker, Publisher.objects.all()) == [False]


def test_updated_is_asked_before_any_other_time_that_the_model_has(
    tracker: ViewTracker, clock: time_machine.Traveller, bulletins: Any
) -> None:
    """Those would say that nothing has changed since."""
    Publisher.objects.create(name="a")
    clock.shift(MINUTE)
    tracker.mark_all_viewed()
    assert answers(tracker, bulletins._base_manager.all()) == [True]
    clock.shift(MINUTE)
    Publisher.objects.get().save()

    bulletin = bulletins._base_manager.get()
    assert (bulletin.last_updated, bulletin.modified, bulletin.updated) == (NOW, NOW, NOW + 2 * MINUTE)
    assert change_time(bulletin) == bulletin.updated
    assert answers(tracker, bulletins._base_manager.all()) == [False]


def test_who_names_another_time_is_obeyed(tracker: ViewTracker, clock: time_machine.Traveller, bulletins: Any) -> None:
    """A field, or the time itself."""
    Publisher.objects.create(name="a")
    clock.shift(MINUTE)
    tracker.mark_all_viewed()
    clock.shift(MINUTE)
    Publisher.objects.get().save()
    bulletin = bulletins._base_manager.get()

    assert answers(tracker, bulletins._base_manager.all(), updated_field="modified") == [True]
    assert tracker.has_viewed(bulletin, last_update=NOW + MINUTE) is True
    assert tracker.has_viewed(bulletin, last_update=NOW + 2 * MINUTE) is False
    with pytest.raises(NoChangeTime, match="no field"):
        tracker.unseen(bulletins._base_manager.all(), updated_field="nonsense")


def test_a_property_of_such_a_name_is_not_asked(
    tracker: ViewTracker, monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    """Nor refused, as SQL would have to where the model doesn't say what tells of its changes."""
    monkeypatch.setattr(Publisher, "modified", property(lambda publisher: NOW - 9 * MINUTE), raising=False)
    Publisher.objects.create(name="a")
    clock.shift(-MINUTE)
    tracker.mark_all_viewed()
    assert answers(tracker, Publisher.objects.all()) == [False]


def test_an_annotation_of_such_a_name_is_not_asked_either(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    Publisher.objects.create(name="a")
    clock.shift(MINUTE)
    tracker.mark_all_viewed()
    clock.shift(MINUTE)
    Publisher.objects.get().save()
    assert answers(tracker, Publisher.objects.annotate(last_modified=F("created"))) == [False]
    assert answers(tracker, Publisher.objects.annotate(at=F("created")), updated_field="at") == [True]


def test_a_model_may_say_for_itself_which_field_tells(
    tracker: ViewTracker, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes the publisher is then what makes its magazines unseen."""
    monkeypatch.setattr(Magazine, "footfall_updated_field", "publisher__updated")
    publisher = Publisher.objects.create(name="a")
    magazine = Magazine.objects.create(title="m", publisher=publisher)
    tracker.mark_all_viewed()
    clock.shift(MINUTE)
    magazine.save()
    assert answers(tracker, Magazine.objects.all()) == [True]
    publisher.save()
    assert answers(tracker, Magazine.objects.all()) == [False]


def test_bulk_changes_count_as_saves_do(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    Publisher.objects.bulk_create(Publisher(name=name) for name in "ab")
    tracker.mark_all_viewed()
    clock.shift(MINUTE)
    Publisher.objects.filter(name="a").update(note="changed")
    assert answers(tracker, Publisher.objects.all()) == [False, True]


def test_a_save_that_changes_nothing_or_keeps_the_times_leaves_it_seen(
    tracker: ViewTracker, clock: time_machine.Traveller
) -> None:
    """A mirror's copy has changed when the original did."""
    photo, publisher = Photo.objects.create(caption="c"), Publisher.objects.create(name="a")
    tracker.mark_all_viewed()
    clock.shift(MINUTE)
    photo.save()  # skip_unchanged
    publisher.note = "mirrored"
    publisher.save(keep_times=True)
    assert answers(tracker, Photo.objects.all()) == answers(tracker, Publisher.objects.all()) == [True]


def test_what_inherits_is_asked_as_its_parent_is(tracker: ViewTracker, clock: time_machine.Traveller) -> None:
    """A child with a table of its own, and a proxy."""
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="a"))
    supplement = Supplement.objects.create(theme="t", magazine=magazine)
    issue = Issue.objects.create(magazine=magazine)
    tracker.mark_all_viewed()
    assert answers(tracker, Supplement.objects.all()) == [True]
    clock.shift(MINUTE)
    supplement.save()
    assert answers(tracker, Supplement.objects.all()) == [False]
    assert answers(tracker, SpecialIssue.objects.filter(pk=issue.pk)) == [True]
    SpecialIssue.objects.get(pk=issue.pk).save()
    assert answers(tracker, SpecialIssue.objects.filter(pk=issue.pk)) == [False]


def test_what_a_reader_was_shown_is_held_against_it_too(
    django_capture_on_commit_callbacks: Any, clock: time_machine.Traveller, tracker: ViewTracker
) -> None:
    """Published, and folded by the worker."""
    desk = Desk.objects.create(name="d")
    with django_capture_on_commit_callbacks(execute=True):
        publish_view(tracker.user, desk)
    drain()
    assert answers(tracker, Desk.objects.all()) == [True]
    clock.shift(MINUTE)
    desk.save()
    assert answers(tracker, Desk.objects.all()) == [False]


def test_marks_stay_with_a_softly_deleted_object_for_its_restoration(
    tracker: ViewTracker, clock: time_machine.Traveller
) -> None:
    """Deleted and restored it has changed; what is restored was not seen since."""
    desk = Desk.objects.create(name="d")
    tracker.mark_viewed(desk)
    clock.shift(MINUTE)
    desk.delete()
    assert ViewMark.objects.count() == 1
    assert answers(tracker, Desk.objects.all()) == [False]
    assert not tracker.has_unseen(Desk.handleref.undeleted())
    clock.shift(MINUTE)
    desk.undelete()
    assert ViewMark.objects.get().at == NOW
    assert answers(tracker, Desk.objects.all()) == [False]
    assert tracker.has_viewed(desk, last_update=NOW) is True
    desk.delete(hard=True)
    assert not ViewMark.objects.exists()


@pytest.mark.parametrize("rows", [Publisher, "newsroom.publisher"])
def test_what_is_deleted_softly_is_nothing_to_see_where_a_model_is_named(rows: type[Publisher] | str) -> None:
    """A badge does not ask for what no page shows; a queryset of one's own is asked as it is."""
    user = User.objects.create(username="reader")
    kept, gone = (Publisher.objects.create(name=name) for name in ("kept", "gone"))
    gone.delete()
    tracker = ViewTracker(user)
    assert list(tracker.unseen(rows)) == [kept]
    assert tracker.unseen_count(rows) == 1
    assert set(tracker.unseen(Publisher.objects.all())) == {kept, gone}
