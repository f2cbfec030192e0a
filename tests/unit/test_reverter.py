"""The way back: fields and whole objects as earlier versions had them, checked, counted and put down in the history."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from threading import Thread
from typing import Any

import pytest
import reversion
from django.apps import apps
from django.contrib.admin.sites import AdminSite
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db import connection, models
from histories import newest, register_all, revision, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement
from reversion.models import Revision
from reversion.models import Version as Stored

from footfall.storage.admin import VersionAdmin
from footfall.storage.references import HandleRefModel, UndeleteRefused
from footfall.storage.softdeletion import soft_deleted
from footfall.storage.versions import ReversionReverter, ReversionVersion, Reverter, register

register_all()
pytestmark = pytest.mark.django_db


@pytest.fixture
def reverter() -> ReversionReverter:
    return ReversionReverter()


def numbered(instance: Any, number: int) -> ReversionVersion:
    """The version of ``instance`` that bears ``number``."""
    return next(version for version in ReversionVersion.of(instance) if version.version == number)


def rewritten(version: ReversionVersion, **fields: Any) -> ReversionVersion:
    """The version with other values in its snapshot, as an earlier state of the site may have left it."""
    (row,) = json.loads(version.stored.serialized_data)
    row["fields"].update(fields)
    Stored.objects.filter(pk=version.id).update(serialized_data=json.dumps([row]))
    return ReversionVersion(version.id)


def story(*titles: str, **values: Any) -> Story:
    """A story with a version for each title."""
    one = Story(**values)
    for title in titles:
        saved(one, title=title)
    return one


def stored(instance: Any) -> dict[str, Any]:
    """The row as it is, and how many revisions there are."""
    row = type(instance)._base_manager.filter(pk=instance.pk).values().get()
    return {**row, "revisions": Revision.objects.count()}


# -- Reverting fields


def test_the_given_fields_are_set_from_the_given_versions(reverter: ReversionReverter) -> None:
    """Others stay; it is one change, by its user, with a comment that names the versions."""
    ada = User.objects.create(username="ada")
    one = Story()
    for number in range(1, 5):
        saved(one, title=f"title {number}", body=f"body {number}", words=number)

    reverter.revert_fields(one, {"title": numbered(one, 2), "words": numbered(one, 1)}, user=ada)

    for shown in (one, Story.objects.get()):
        assert (shown.title, shown.body, shown.words, shown.version) == ("title 2", "body 4", 1, 5)
    version = newest(one)
    assert version.comment == "reverted some fields via versions: 1, 2"
    assert version.user == ada and version.version == 5
    assert version.changed_fields(version.previous) == ["title", "words"]


def test_a_version_is_named_once_however_many_fields_come_from_it(reverter: ReversionReverter) -> None:
    """By the number that it shows."""
    one = story("a", "b")
    reverter.revert_fields(one, {"title": numbered(one, 1), "words": numbered(one, 1)})

    assert newest(one).comment == "reverted some fields via versions: 1"
    assert newest(one).user is None


def test_nothing_is_done_for_no_fields(reverter: ReversionReverter) -> None:
    """No save, and no revision."""
    one = story("a")
    before = stored(one)
    reverter.revert_fields(one, {})

    assert stored(one) == before


def test_an_anonymous_user_is_nobody(reverter: ReversionReverter) -> None:
    """Revisions are by users."""
    one = story("a", "b")
    reverter.rollback(one, numbered(one, 1), user=AnonymousUser())

    assert newest(one).user is None and one.title == "a"


def test_hr_48_an_unknown_field_is_refused_with_a_message(reverter: ReversionReverter) -> None:
    """As one that nobody sets, or that the version doesn't hold."""
    one = story("a", "b")
    first, before = numbered(one, 1), stored(one)
    names = [
        "nosuch",
        "pk",
        "id",
        "version",
        "created",
        "updated",
        "change_stamp",
        "former_status",
        "x" * 500,
        "__init__",
    ]

    for name in names:
        with pytest.raises(ValidationError) as refusal:
            reverter.revert_fields(one, {"title": first, name: first})
        assert refusal.value.messages[0] and len(refusal.value.messages[0]) < 150
    assert stored(one) == before and one.title == "b"


def test_what_points_here_is_no_field(reverter: ReversionReverter) -> None:
    """The stories of a desk are not the desk's to revert."""
    one = Desk(name="a")
    version = saved(one)

    for name in ("stories", "below", "below_id"):
        with pytest.raises(ValidationError):
            reverter.revert_fields(one, {name: version})


def test_a_field_that_the_version_does_not_hold_is_refused(reverter: ReversionReverter) -> None:
    """It was added to the model later; a rollback leaves it as it is."""
    one = story("a", words=1)
    version = newest(one)
    (row,) = json.loads(version.stored.serialized_data)
    del row["fields"]["words"]
    Stored.objects.update(serialized_data=json.dumps([row]))
    saved(one, title="b", words=2)
    version = ReversionVersion(version.id)

    with pytest.raises(ValidationError, match="Version 1 holds no value of words"):
        reverter.revert_fields(one, {"words": version})
    reverter.rollback(one, version)
    assert (one.title, one.words) == ("a", 2)


def test_a_version_of_another_object_is_refused(reverter: ReversionReverter) -> None:
    """Of the same model, of another one with the same key, and one around nothing."""
    one, other = story("a"), story("x")
    desk = Desk(pk=one.pk, name="d")
    last = newest(one).next

    for version in (newest(other), saved(desk), last):
        with pytest.raises(ValidationError, match="another object"):
            reverter.rollback(one, version)
        with pytest.raises(ValidationError, match="another object"):
            reverter.revert_fields(one, {"status": version})
    assert one.version == 1
    with pytest.raises(ValidationError, match="another object"):
        reverter.rollback(Story(title="unsaved"), newest(one))


def test_a_version_that_cant_be_read_is_refused(reverter: ReversionReverter) -> None:
    """With a message."""
    one = story("a")
    Stored.objects.update(serialized_data="{")

    with pytest.raises(ValidationError, match="can't be read"):
        reverter.rollback(one, newest(one))


# -- Rolling back


def test_a_rollback_sets_all_fields_but_created_updated_and_version(reverter: ReversionReverter) -> None:
    """The comment names the number that the snapshot shows; the object counts on."""
    ada = User.objects.create(username="ada")
    desk, photos = Desk.objects.create(name="d"), [Photo.objects.create() for _ in range(3)]
    one = Story(title="first", words=5)
    with revision():
        one.save()
        one.photos.set(photos[:2])
    created, first_updated = one.created, one.updated
    with revision():
        one.title, one.words, one.desk, one.status = "second", None, desk, "draft"
        one.save()
        one.photos.set(photos[1:])

    reverter.rollback(one, numbered(one, 1), user=ada)

    for shown in (one, Story.objects.get()):
        assert (shown.title, shown.words, shown.desk, shown.status) == ("first", 5, None, "")
        assert shown.created == created and shown.updated > first_updated and shown.version == 3
        assert set(shown.photos.all()) == set(photos[:2])
    version = newest(one)
    assert version.comment == "rollback to version 1" and version.user == ada and version.version == 3
    assert version.data["photos"] == numbered(one, 1).data["photos"]
    assert set(version.changes(numbered(one, 1)) or ()) == set()


def test_a_rollback_to_what_it_is_already_is_a_version_too(reverter: ReversionReverter) -> None:
    """Somebody did it, and said so; also for a model that skips saves without change."""
    photo = Photo(caption="a")
    version = saved(photo)
    reverter.rollback(photo, version)

    assert newest(photo).comment == "rollback to version 1" and photo.version == 2


def test_what_the_object_holds_unsaved_is_dropped(reverter: ReversionReverter) -> None:
    """And what others have saved meanwhile stays."""
    one = story("a", "b")
    other = Story.objects.get()
    saved(other, body="of another")
    one.body = "unsaved"

    reverter.revert_fields(one, {"title": numbered(one, 1)})

    assert (one.title, one.body, one.version) == ("a", "of another", 4)
    assert newest(one).data["body"] == "of another"


def test_the_row_has_to_be_there(reverter: ReversionReverter) -> None:
    """What is deleted for ever does not come back this way."""
    one = story("a")
    version = newest(one)
    Story.objects.all().delete(hard=True)

    with pytest.raises(Story.DoesNotExist):
        reverter.rollback(one, version)
    assert not Story.objects.exists()


@pytest.mark.parametrize("model", [Issue, SpecialIssue, Supplement])
def test_models_that_inherit_and_their_proxies_are_rolled_back(model: type[Issue], reverter: ReversionReverter) -> None:
    """With what they inherit."""
    magazines = [
        Magazine.objects.create(title=title, publisher=Publisher.objects.create(name=title)) for title in ("m", "n")
    ]
    one = model(magazine=magazines[0], number=1)
    own = {"theme": "old"} if model is Supplement else {}
    saved(one, **own)
    saved(one, number=2, magazine=magazines[1], **dict.fromkeys(own, "new"))

    reverter.rollback(one, numbered(one, 1))

    one = model.objects.get()
    assert (one.number, one.magazine, one.version) == (1, magazines[0], 3)
    assert all(getattr(one, name) == value for name, value in own.items())
    assert newest(one).version == 3 and newest(one).data["number"] == 1


def test_a_text_key_will_do(reverter: ReversionReverter) -> None:
    """As any other."""
    one = Masthead(slug="front page/1")
    saved(one)
    saved(one, status="old")
    reverter.revert_fields(one, {"status": numbered(one, 1)})

    assert Masthead.objects.get().status == ""


class ReverterProperties(TestCase):
    @settings(max_examples=25, deadline=None)
    @given(
        st.lists(
            st.tuples(st.text("abc", min_size=1, max_size=3), st.none() | st.integers(0, 9)), min_size=1, max_size=5
        ),
        st.data(),
    )
    def test_a_rollback_gives_what_the_version_held(self, states: list[tuple[str, int | None]], data: Any) -> None:
        """Of any of the versions, in any order; and the number goes up by one each time."""
        one = Story()
        for title, words in states:
            saved(one, title=title, words=words)
        for _ in range(3):
            at = data.draw(st.integers(0, len(states) - 1))
            before = one.version
            ReversionReverter().rollback(one, numbered(one, at + 1))
            row = Story.objects.get(pk=one.pk)
            assert (row.title, row.words) == states[at] and row.version == one.version == before + 1
            assert newest(one).comment == f"rollback to version {at + 1}"


# -- Values


def test_foreign_keys_are_reverted_by_name_and_by_column(reverter: ReversionReverter) -> None:
    """What the object has loaded of the other one is forgotten."""
    first, second = Desk.objects.create(name="a"), Desk.objects.create(name="b")
    for name in ("desk", "desk_id"):
        one = story("t", desk=first)
        saved(one, desk=second)
        assert one.desk == second
        reverter.revert_fields(one, {name: numbered(one, 1)})
        assert one.desk == first and Story.objects.get(pk=one.pk).desk_id == first.pk


def test_many_to_many_fields_are_reverted_alone(reverter: ReversionReverter) -> None:
    """It counts as a change, which they by themselves are none; also to none at all."""
    photo = Photo.objects.create()
    one = story("a")
    with revision():
        one.photos.add(photo)
        one.save()
    reverter.revert_fields(one, {"photos": numbered(one, 1)})

    assert not one.photos.exists() and one.version == 3
    assert newest(one).data["photos"] == [] and newest(one).version == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("desk", 4711),
        ("desk", "x"),
        ("desk", ["natural", "key"]),
        ("words", "many"),
        ("words", 10**30),
        ("title", None),
        ("title", "x" * 101),
        ("body", None),
        ("status", None),
        ("photos", [str(uuid.UUID(int=5))]),
        ("photos", ["x"]),
        ("photos", None),
        ("photos", [["natural", "key"]]),
    ],
    ids=str,
)
def test_a_value_that_fits_no_more_is_refused_by_the_name_of_its_field(
    name: str, value: Any, reverter: ReversionReverter
) -> None:
    """A related object that is gone, another type, a blank that is allowed no more: nothing is saved."""
    one = story("a")
    saved(one, title="b")
    version, before = rewritten(numbered(one, 1), **{name: value}), stored(one)

    for fields in (None, {name: version}):
        with pytest.raises(ValidationError) as refusal:
            reverter.rollback(one, version) if fields is None else reverter.revert_fields(one, fields)
        assert list(refusal.value.message_dict) == [name]
        assert stored(one) == before
        assert (one.title, one.version, one.desk_id, one.words) == ("b", 2, None, None)


def test_a_unique_value_that_another_has_by_now_is_refused(reverter: ReversionReverter) -> None:
    """Among those that are not deleted."""
    one = Publisher(name="a")
    saved(one)
    saved(one, name="b")
    other = Publisher.objects.create(name="a")

    with pytest.raises(ValidationError):
        reverter.rollback(one, numbered(one, 1))
    assert one.name == Publisher.objects.get(pk=one.pk).name == "b"
    other.delete()
    reverter.rollback(one, numbered(one, 1))
    assert one.name == "a"


def test_the_whole_object_has_to_be_valid(reverter: ReversionReverter) -> None:
    """As in a form."""
    one = story("a", "b")
    Story.objects.update(title="")

    with pytest.raises(ValidationError) as refusal:
        reverter.revert_fields(one, {"words": numbered(one, 1)})
    assert list(refusal.value.message_dict) == ["title"]


def test_what_a_receiver_refuses_leaves_nothing(reverter: ReversionReverter) -> None:
    """Neither the change nor a revision, nor anything in the object."""
    one = story("a", "b")
    before = stored(one)

    def refuse(**_: Any) -> None:
        raise RuntimeError("no")

    models.signals.post_save.connect(refuse, sender=Story)
    try:
        with pytest.raises(RuntimeError):
            reverter.rollback(one, numbered(one, 1))
    finally:
        models.signals.post_save.disconnect(refuse, sender=Story)

    assert stored(one) == before
    assert (one.title, one.version) == ("b", 2) and one.updated == before["updated"]
    reverter.rollback(one, numbered(one, 1))
    assert (one.title, one.version) == ("a", 3)


@pytest.fixture
def everything(transactional_db: None) -> Iterator[Any]:
    """A model with fields of every kind, for one test."""
    storage = InMemoryStorage()

    class Everything(HandleRefModel):
        amount = models.DecimalField(max_digits=9, decimal_places=2, null=True, blank=True)
        tree = models.JSONField(default=dict, blank=True)
        token = models.UUIDField(null=True, blank=True)
        day = models.DateField(null=True, blank=True)
        moment = models.DateTimeField(null=True, blank=True)
        length = models.DurationField(null=True, blank=True)
        ratio = models.FloatField(null=True, blank=True)
        flag = models.BooleanField(default=False)
        raw = models.BinaryField(null=True, blank=True, editable=True)
        paper = models.FileField(storage=storage, blank=True)
        size = models.CharField(max_length=2, choices=[("S", "small"), ("L", "large")], default="S")
        hour = models.TimeField(null=True, blank=True)
        number = models.IntegerField(default=1)
        double = models.GeneratedField(
            expression=models.F("number") * 2, output_field=models.IntegerField(), db_persist=True
        )
        seen = models.DateTimeField(auto_now=True)
        word = models.CharField(max_length=9, null=True, blank=True)  # noqa: DJ001 - sites have such fields
        users = models.ManyToManyField(User)

        class Meta:
            app_label = "newsroom"

    with connection.schema_editor() as editor:
        editor.create_model(Everything)
    register(Everything)
    yield Everything
    reversion.unregister(Everything)
    with connection.schema_editor() as editor:
        editor.delete_model(Everything)
    for name in ("everything", "everything_users"):
        apps.all_models["newsroom"].pop(name)
    apps.clear_cache()


def test_fields_of_every_kind_come_back(everything: Any, reverter: ReversionReverter) -> None:
    """Files by their names, amounts, JSON, UUIDs, dates and times (to the millisecond), bytes, choices."""
    old = {
        "amount": Decimal("12.50"),
        "tree": {"a": [1, None, {"b": "ä"}]},
        "token": uuid.UUID(int=7),
        "day": date(2024, 2, 29),
        "moment": datetime(2024, 6, 1, 12, 30, 0, 250000, tzinfo=UTC),
        "length": timedelta(days=1, seconds=2),
        "ratio": 1.25,
        "flag": True,
        "raw": b"\x00\xff",
        "size": "L",
    }
    one = everything(**old)
    one.paper.save("old.txt", ContentFile(b"old"), save=False)
    saved(one)
    saved(one, **dict.fromkeys(old.keys() - {"tree", "flag", "size"}), tree={}, flag=False, size="S", paper="")

    reverter.rollback(one, numbered(one, 1))

    for shown in (one, everything.objects.get()):
        held = {name: getattr(shown, name) for name in old}
        held["raw"] = bytes(held["raw"])
        assert held == old and shown.paper.name == "old.txt" and shown.paper.read() == b"old"
    assert newest(one).changed_fields(numbered(one, 1)) == ["seen"]
    with pytest.raises(ValidationError) as refusal:
        reverter.revert_fields(one, {"size": rewritten(numbered(one, 1), size="XL", flag="perhaps")})
    assert list(refusal.value.message_dict) == ["size"]
    with pytest.raises(ValidationError):
        reverter.revert_fields(one, {"flag": numbered(one, 1)})


def test_a_time_that_was_the_same_stays_as_it_is(everything: Any, reverter: ReversionReverter) -> None:
    """Though the snapshot holds it to the millisecond only; another one is set to what the snapshot holds."""
    moment, hour = datetime(2024, 6, 1, 12, 30, 0, 250123, tzinfo=UTC), time(8, 15, 0, 999999)
    one = everything(moment=moment, hour=hour, size="S")
    saved(one)
    saved(one, size="L")

    reverter.rollback(one, numbered(one, 1))
    one.refresh_from_db()
    assert (one.moment, one.hour, one.size) == (moment, hour, "S")
    saved(one, moment=moment + timedelta(seconds=1), hour=None)
    reverter.rollback(one, numbered(one, 1))
    one.refresh_from_db()
    assert (one.moment, one.hour) == (moment.replace(microsecond=250000), hour.replace(microsecond=999000))


def test_what_the_database_or_a_save_fills_is_not_reverted(everything: Any, reverter: ReversionReverter) -> None:
    """It follows from the rest."""
    one = everything(number=1)
    saved(one)
    saved(one, number=5)

    for name in ("double", "seen"):
        with pytest.raises(ValidationError, match="can't be reverted"):
            reverter.revert_fields(one, {name: numbered(one, 1)})
    reverter.rollback(one, numbered(one, 1))
    one.refresh_from_db()
    assert (one.number, one.double) == (1, 2) and one.seen > numbered(one, 1).data["seen"]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ({"word": "none"}, {"word": None}, {"word": ("none", "none")}),
        ({"word": "empty"}, {"word": ""}, {"word": ("empty", "empty")}),
        (
            {"moment": datetime(2024, 6, 1, 12, 30, 1, tzinfo=UTC)},
            {"moment": datetime(2024, 6, 1, 12, 30, 59, 5000, tzinfo=UTC)},
            {"moment": ("June 1, 2024, 14:30:59.005000+02:00", "June 1, 2024, 14:30:01+02:00")},
        ),
        ({"hour": time(8, 15, 1)}, {"hour": time(8, 15, 59)}, {"hour": ("08:15:59", "08:15:01")}),
        ({"moment": datetime(2024, 6, 1, 0, 0, 0, 250123, tzinfo=UTC)}, {}, {}),
        ({"raw": b"same", "amount": Decimal("1.5"), "token": uuid.UUID(int=1)}, {}, {}),
        ({"raw": b"old"}, {"raw": b"new"}, {"raw": ("new", "old")}),
        ({"number": 1}, {"number": 2}, {"number": ("2", "1")}),
    ],
)
def test_a_rollback_is_previewed_by_values(everything: Any, before: Any, after: Any, shown: Any) -> None:
    """Not by how they read: what differs is shown, and nothing else."""
    users = [User.objects.create(pk=pk, username=f"u{pk}") for pk in (2, 10)]
    one = everything(**before)
    with revision():
        one.save()
        one.users.set(users)
    saved(one, **after)
    one = everything.objects.get()

    changes = VersionAdmin(everything, AdminSite())._rolled_back(one, numbered(one, 1))
    assert {change.name: (change.old.full, change.new.full) for change in changes} == shown


def test_changes_of_bytes_can_be_read(everything: Any) -> None:
    """They are no addresses in memory."""
    one = everything(raw=b"old")
    saved(one)
    version = saved(one, raw=b"new")

    assert (version.changes(version.previous) or {})["raw"] == {"old": "b'old'", "changed": "b'new'"}


# -- Deleted and live


def family() -> tuple[Publisher, Magazine, Issue]:
    """Each with a first version."""
    publisher, magazine = Publisher(name="house"), Magazine(title="m")
    saved(publisher)
    saved(magazine, publisher=publisher)
    issue = Issue(number=1)
    saved(issue, magazine=magazine)
    return publisher, magazine, issue


def refreshed(*objects: Any) -> list[str]:
    """The statuses, as they are stored."""
    for one in objects:
        one.refresh_from_db()
    return [one.status for one in objects]


def test_hr_45_a_rollback_restores_the_object_alone(reverter: ReversionReverter) -> None:
    """What was deleted together with it stays deleted: that is for `undelete`."""
    publisher, magazine, issue = family()
    with revision():
        publisher.delete()

    reverter.rollback(publisher, numbered(publisher, 1))

    assert refreshed(publisher, magazine, issue) == ["", "deleted", "deleted"]
    assert publisher.former_status == "" and newest(publisher).data["status"] == ""
    assert newest(publisher).version == publisher.version == 3


@pytest.mark.parametrize("way", ["rollback", "revert"])
def test_hr_45_nothing_is_restored_below_a_deleted_object(way: str, reverter: ReversionReverter) -> None:
    """Neither by a rollback nor by the status alone; and nothing is saved."""
    publisher, magazine, issue = family()
    with revision():
        publisher.delete()
    magazine.refresh_from_db()
    before = stored(magazine)

    with pytest.raises(UndeleteRefused, match="above it is deleted") as refusal:
        if way == "rollback":
            reverter.rollback(magazine, numbered(magazine, 1))
        else:
            reverter.revert_fields(magazine, {"status": numbered(magazine, 1)})
    assert refusal.value.code == "parent_deleted"
    assert publisher.handle in refusal.value.messages[0] and magazine.handle in refusal.value.messages[0]
    assert stored(magazine) == before and magazine.status == "deleted"
    reverter.revert_fields(magazine, {"title": numbered(magazine, 1)})
    assert refreshed(publisher, magazine, issue) == ["deleted"] * 3


def test_hr_45_nothing_live_is_moved_below_a_deleted_object(reverter: ReversionReverter) -> None:
    """It would be the one that lives below a deleted one."""
    publisher, magazine, _issue = family()
    other = Publisher.objects.create(name="other")
    saved(magazine, publisher=other)
    publisher.delete()

    with pytest.raises(UndeleteRefused):
        reverter.rollback(magazine, numbered(magazine, 1))
    magazine.refresh_from_db()
    assert magazine.publisher == other and magazine.status == ""
    with revision():
        magazine.delete()
    reverter.revert_fields(magazine, {"publisher": numbered(magazine, 1)})
    assert magazine.publisher == publisher and magazine.status == "deleted"


def test_fields_are_reverted_where_what_is_above_does_not_change(reverter: ReversionReverter) -> None:
    """A live object below one that was deleted by hand is not moved, and not restored."""
    publisher, magazine, _issue = family()
    saved(magazine, title="n")
    Publisher._base_manager.filter(pk=publisher.pk).update(status="deleted")

    reverter.rollback(magazine, numbered(magazine, 1))
    assert magazine.title == "m"


def test_a_rollback_to_a_deleted_version_deletes_what_is_below_it(reverter: ReversionReverter) -> None:
    """Nothing live stays below it; all of it is in the revision, and comes back together."""
    publisher, magazine, issue = family()
    with revision():
        publisher.delete()
    publisher.undelete()
    assert refreshed(publisher, magazine, issue) == [""] * 3

    reverter.rollback(publisher, numbered(publisher, 2))

    assert refreshed(publisher, magazine, issue) == ["deleted"] * 3
    for one in (publisher, magazine, issue):
        assert newest(one).comment == "rollback to version 2" and newest(one).data["status"] == "deleted"
    assert publisher.version == newest(publisher).version == 4
    publisher.undelete()
    assert refreshed(publisher, magazine, issue) == [""] * 3


def test_a_deleted_version_with_other_values_is_written_after_the_deletion(reverter: ReversionReverter) -> None:
    """Its unique value may be another's by now: a deleted row does not claim it. Deleted and saved, two numbers."""
    publisher, magazine, issue = family()
    with revision():
        publisher.delete()
    publisher.undelete()
    saved(publisher, name="renamed", note="n")
    Publisher.objects.create(name="house")
    before = publisher.version

    reverter.rollback(publisher, numbered(publisher, 2))

    assert refreshed(publisher, magazine, issue) == ["deleted"] * 3
    assert (publisher.name, publisher.note, publisher.version) == ("house", "", before + 2)
    assert newest(publisher).version == publisher.version and newest(publisher).data["name"] == "house"


def test_many_to_many_fields_of_a_deleted_version_come_back_too(reverter: ReversionReverter) -> None:
    """What differs is written, though the columns be the same."""
    photo = Photo.objects.create()
    one = Story(title="a")
    with revision():
        one.save()
        one.photos.add(photo)
    with revision():
        one.delete()
    one.undelete()
    one.photos.clear()

    reverter.rollback(one, numbered(one, 2))
    assert list(one.photos.all()) == [photo] and one.status == "deleted"


def test_the_status_alone_deletes_and_restores(reverter: ReversionReverter) -> None:
    """Chosen as a field."""
    publisher, magazine, _issue = family()
    with revision():
        publisher.delete()
    reverter.revert_fields(publisher, {"status": numbered(publisher, 1)})
    assert refreshed(publisher, magazine) == ["", "deleted"]
    reverter.revert_fields(publisher, {"status": numbered(publisher, 2)})

    assert refreshed(publisher) == ["deleted"]
    assert newest(publisher).comment == "reverted some fields via versions: 2"


def test_the_checks_can_be_asked_by_themselves(reverter: ReversionReverter) -> None:
    """Before anything is done."""
    publisher, magazine, _issue = family()
    reverter.validate_parent_status(magazine)
    reverter.validate_status_change(magazine, "")
    publisher.delete()
    magazine.refresh_from_db()

    reverter.validate_status_change(magazine, "deleted")
    reverter.validate_parent_status(publisher)
    with pytest.raises(UndeleteRefused):
        reverter.validate_status_change(magazine, "")
    with pytest.raises(UndeleteRefused):
        reverter.validate_parent_status(magazine)


# -- In the history


def test_a_revert_within_an_open_revision_is_part_of_it(reverter: ReversionReverter) -> None:
    """One revision, one version, with the last comment."""
    one = story("a", "b")
    before = Revision.objects.count()
    with revision("outer"):
        reverter.rollback(one, numbered(one, 1))

    assert Revision.objects.count() == before + 1
    assert newest(one).comment == "rollback to version 1"


def test_what_is_refused_within_an_open_revision_leaves_it_as_it_was(reverter: ReversionReverter) -> None:
    """No version of what never was, and the comment and the user that it had."""
    ada, bob = (User.objects.create(username=name) for name in ("ada", "bob"))
    one, other = story("a", "b"), Story(title="other")
    first, before = numbered(one, 1), stored(one)

    def refuse(instance: Any, **_: Any) -> None:
        if instance.pk == one.pk:
            raise ValidationError("no")

    models.signals.post_save.connect(refuse, sender=Story)
    try:
        with revision("outer", ada):
            with pytest.raises(ValidationError):
                reverter.rollback(one, first, user=bob)
            other.save()
    finally:
        models.signals.post_save.disconnect(refuse, sender=Story)

    assert stored(one) == {**before, "revisions": before["revisions"] + 1}
    assert newest(one).version == 2 and (newest(other).comment, newest(other).user) == ("outer", ada)


def test_a_deletion_is_not_begun_where_the_object_is_not_valid(reverter: ReversionReverter) -> None:
    """Nobody is told of it."""
    one = story("a")
    with revision():
        one.delete()
    gone = rewritten(newest(one), title="")
    one.undelete()
    told: list[Any] = []

    def hear(**_: Any) -> None:
        told.append(1)

    soft_deleted.connect(hear)
    try:
        with revision(), pytest.raises(ValidationError):
            reverter.rollback(one, gone)
    finally:
        soft_deleted.disconnect(hear)

    assert told == [] and one.status == "" and len(ReversionVersion.of(one)) == 2


def test_a_site_may_refuse_a_change_of_status() -> None:
    """By a rule of its own; nothing is written then."""

    class Strict(ReversionReverter):
        def validate_status_change(self, instance: HandleRefModel, status: str) -> None:
            if status == "draft":
                raise ValidationError("Not a draft again.")

    one = story("a", status="draft")
    saved(one, status="")
    before = stored(one)

    with pytest.raises(ValidationError, match="Not a draft"):
        Strict().rollback(one, numbered(one, 1))
    assert stored(one) == before


def test_a_revert_is_a_bounded_number_of_queries(
    django_assert_max_num_queries: Callable[..., Any], reverter: ReversionReverter
) -> None:
    """Whatever the length of the history."""
    one = Story(title="s")
    for number in range(30):
        saved(one, words=number)
    version = numbered(one, 1)

    with django_assert_max_num_queries(20):
        reverter.rollback(one, version)


def test_a_reverter_of_a_store_of_its_own_says_how_a_change_is_put_down() -> None:
    """The base class knows no store."""
    one = story("a", "b")

    with pytest.raises(NotImplementedError):
        Reverter().rollback(one, numbered(one, 1))
    assert one.title == "b"


@pytest.mark.django_db(transaction=True)
def test_hr_45_what_is_restored_while_the_object_above_is_deleted_does_not_stay_live() -> None:
    """One of the two waits for the other, neither fails for it, and nothing live is left below a deleted object."""
    publisher, magazine, issue = family()
    failures: list[BaseException] = []

    def above() -> None:
        one = Publisher.objects.get()
        for _ in range(20):
            one.delete()
            one.undelete()
        one.delete()

    def below() -> None:
        one = Magazine.objects.get()
        live = numbered(one, 1)
        for _ in range(20):
            with suppress(UndeleteRefused):
                ReversionReverter().rollback(one, live)

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [Thread(target=guarded, args=(work,)) for work in (above, below)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert refreshed(publisher, magazine, issue) == ["deleted"] * 3
