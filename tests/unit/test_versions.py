"""The history of objects, as django-reversion has stored it: what a version knows, and what reading it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import reversion
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ImproperlyConfigured
from django.core.paginator import Paginator
from django.db import models, transaction
from django.test.utils import isolate_apps
from django.utils import timezone
from histories import newest, register_all, revision, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from newsroom.models import Article, Desk, Issue, Magazine, Photo, Publisher, SpecialIssue, Story, Supplement
from reversion.models import Revision
from reversion.models import Version as Stored

from footfall.storage.references import HandleRefModel
from footfall.storage.versions import ReversionVersion, VersionNotFound, register

register_all()
pytestmark = pytest.mark.django_db

Counted = Callable[..., Any]

TESTS = Path(__file__).resolve().parents[1]


def desk(*names: str) -> Desk:
    """A desk with a version for each of ``names``."""
    one = Desk()
    for name in names:
        saved(one, name=name)
    return one


def history(instance: Any) -> list[ReversionVersion]:
    """All versions, newest first."""
    return ReversionVersion.of(instance)[:]


# -- Numbers


def test_hr_41_four_revisions_of_one_live_object_are_four_versions() -> None:
    """The object shows the number, and each snapshot carries the number after its change, the first one 1."""
    one, shown = Desk(), []
    for name in "abcd":
        with revision():
            one.name = name
            one.save()
            shown.append(one.version)

    assert shown == [1, 2, 3, 4] and one.version == 4
    assert Desk.objects.get().version == 4
    assert [version.version for version in history(one)] == [4, 3, 2, 1]
    assert [version.data["name"] for version in history(one)] == ["d", "c", "b", "a"]


def test_hr_41_four_revisions_of_a_model_with_two_tables_are_four_versions() -> None:
    """What it inherits is as new as its own."""
    publisher = Publisher.objects.create(name="house")
    one = Supplement(magazine=Magazine.objects.create(title="m", publisher=publisher))
    for number in range(1, 5):
        saved(one, theme=f"t{number}", number=number)

    assert [(at.version, at.data["number"], at.data["theme"]) for at in history(one)] == [
        (number, number, f"t{number}") for number in (4, 3, 2, 1)
    ]


def test_nothing_is_saved_a_second_time_when_a_revision_ends() -> None:
    """`updated` is that of the snapshot."""
    one = desk("a")
    one.refresh_from_db()

    assert one.version == 1
    # JSON keeps milliseconds.
    assert abs(newest(one).data["updated"] - one.updated) < timedelta(milliseconds=1)


def test_saves_within_one_revision_are_one_version_of_the_last_number() -> None:
    """Each save counts; a revision keeps how the object was at its end."""
    one = Desk(name="a")
    with revision():
        one.save()
        one.save()
        one.save()

    (version,) = history(one)
    assert version.version == one.version == 3


class RevisionsProperties(TestCase):
    @settings(max_examples=25, deadline=None)
    @given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    def test_a_snapshot_carries_the_number_after_the_change(self, saves: list[int]) -> None:
        """However many saves were made outside of a revision before each one inside."""
        one, numbers = Desk(name="a"), []
        for outside in saves:
            for _ in range(outside):
                one.save()
            numbers.append(saved(one).version)
            assert numbers[-1] == one.version == Desk.objects.get(pk=one.pk).version

        assert [version.version for version in history(one)] == numbers[::-1]


def test_hr_49_models_without_account_in_a_revision_stay_untouched() -> None:
    """A plain model has no version to count; its revision is stored, its row as it was saved."""
    reversion.register(Article)
    try:
        article, one = Article(title="plain"), Desk(name="a")
        with revision():
            article.save()
            one.save()
        before = Article.objects.filter(pk=article.pk).values().get()
        with revision():
            one.save()
            reversion.add_to_revision(article)

        assert Article.objects.filter(pk=article.pk).values().get() == before
        assert Stored.objects.get_for_object(article).count() == 2
        plain = ReversionVersion.of(article)[0]
        assert plain.data["title"] == "plain" and plain.version is None
        assert plain.changes(plain.previous) == {}
        assert one.version == 2
    finally:
        reversion.unregister(Article)


# -- What a version knows


def test_a_version_knows_when_who_and_what() -> None:
    """Of the revision that it is part of."""
    ada = User.objects.create(username="ada")
    one, before = Desk(name="a"), timezone.now()
    with revision("the first one", ada):
        one.save()

    version = newest(one)
    stored = Stored.objects.get()
    assert version.id == stored.pk and version.object_id == str(one.pk)
    assert version.date is not None and before <= version.date <= timezone.now()
    assert version.user == ada and version.comment == "the first one"
    assert version.model is Desk and version.object_repr == "a"
    assert version.version == 1
    assert version.belongs_to(one) and not version.belongs_to(Desk.objects.create(name="b"))
    assert not version.belongs_to(Publisher(pk=one.pk))


def test_the_data_are_the_fields_with_their_values_by_name() -> None:
    """Foreign keys by their columns; what only the database needs is not in it."""
    above = desk("above")
    one = Desk(name="a", above=above)
    version = saved(one)

    assert set(version.data) == {"id", "status", "created", "updated", "version", "name", "above_id"}
    assert version.data["above_id"] == above.pk and version.data["id"] == one.pk
    assert [name for name, _ in version.data_sorted] == sorted(version.data)
    assert dict(version.data_sorted) == version.data


def test_many_to_many_fields_are_lists_of_keys_in_one_order() -> None:
    """Not in that of the related objects, which a save of one of them changes."""
    photos = [Photo.objects.create() for _ in range(4)]
    one = Story(title="s")
    with revision():
        one.save()
        one.photos.set(photos)
    photos[0].save(skip_unchanged=False)
    saved(one)

    later, earlier = history(one)
    assert later.data["photos"] == earlier.data["photos"] == sorted(photo.pk for photo in photos)
    assert later.changes(earlier) == {}


def test_a_comment_of_the_admin_is_put_into_words() -> None:
    """It is JSON; what only looks like it is shown as it is."""
    one = Desk()
    texts = ['[{"changed": {"fields": ["name"]}}]', "[1, 2]", "[broken", "plain"]
    for text in texts:
        with revision(text):
            one.save()

    assert [version.comment for version in history(one)] == ["plain", "[broken", "[1, 2]", "Changed name."]


def test_a_revision_by_nobody_has_no_user() -> None:
    """Nor has one whose user is gone."""
    ada = User.objects.create(username="ada")
    one = desk("a")
    with revision(user=ada):
        one.save()
    ada.delete()

    assert [version.user for version in history(one)] == [None, None]


# -- Before and after


def test_a_version_knows_the_one_before_and_after_it() -> None:
    """Of the same object only."""
    one, other = desk("a"), desk("x")
    saved(one, name="b")
    saved(other, name="y")
    saved(one, name="c")

    for pages in (history(one), [ReversionVersion(version.id) for version in history(one)]):
        third, second, first = pages
        assert third.previous == second and second.previous == first and first.previous is None
        assert first.next == second and second.next == third


def test_the_next_of_the_last_stands_around_nothing() -> None:
    """It is false, and what is asked of it is empty, never an error."""
    for last in (newest(desk("a")), ReversionVersion(Stored.objects.first())):
        after = last.next

        assert isinstance(after, ReversionVersion) and not after
        assert after.data == {} and after.data_sorted == [] and after.comment == "" and after.object_repr == ""
        for name in ("id", "date", "user", "model", "object_id", "version", "previous"):
            assert getattr(after, name) is None
        assert not after.next and after.is_readable
        assert after.changes(last) is None and last.changes(after) is None
        assert not after.belongs_to(Desk())


def test_changes_and_their_summary_against_the_versions_before() -> None:
    """As the history shows them."""
    third, second, first = history(desk("a", "b", "c"))

    assert third.changes(third.previous) == {"name": {"old": "b", "changed": "c"}}
    assert third.changed_fields(first) == ["name"]
    assert first.changes(first.previous) is None
    assert ReversionVersion.changes_summary([first, second, third]) == {
        "name": [{"version": third, "old": "b", "changed": "c"}, {"version": second, "old": "a", "changed": "b"}]
    }


# -- Finding versions


def test_a_version_is_made_of_a_stored_one_or_its_key() -> None:
    """One query for the key, with its revision and user."""
    one = desk("a")
    stored = Stored.objects.get()

    assert ReversionVersion(stored) == ReversionVersion(stored.pk) == ReversionVersion(str(stored.pk)) == newest(one)


def test_a_key_costs_one_query(django_assert_num_queries: Counted) -> None:
    """All that it knows is read with it."""
    ContentType.objects.get_for_model(Desk)
    desk("a")
    key = Stored.objects.get().pk
    with django_assert_num_queries(1):
        version = ReversionVersion(key)
        assert (version.user, version.comment, version.data["name"], version.model) == (None, "", "a", Desk)


@pytest.mark.parametrize("key", [0, -1, 4711, "x", "", "1.5", True, 10**30, "９", "1 OR 1=1", "1_0", b"1"])
def test_hr_48_a_key_of_no_version_is_a_lookup_error(key: Any) -> None:
    """A page answers it with 404. Nothing but decimal digits goes to the database."""
    one = desk("a")

    with pytest.raises(VersionNotFound):
        ReversionVersion(key)
    with pytest.raises(LookupError):
        ReversionVersion.of(one).get(key)


def test_a_history_gives_its_own_versions_only() -> None:
    """One of another object is not found in it."""
    one, other = desk("a", "b"), desk("x")

    assert ReversionVersion.of(one).get(newest(one).id).data["name"] == "b"
    with pytest.raises(VersionNotFound):
        ReversionVersion.of(one).get(newest(other).id)


def test_picked_versions_come_newest_first_with_those_before_them(django_assert_num_queries: Counted) -> None:
    """Two queries, however many are picked."""
    one = desk(*"abcdefgh")
    versions = history(one)
    keys = [versions[at].id for at in (7, 3, 0, 2, 3)]

    with django_assert_num_queries(2):
        picked = ReversionVersion.of(one).pick(map(str, keys))
        assert picked == [versions[at] for at in (0, 2, 3, 7)]
        befores = [version.previous.data["name"] if version.previous else None for version in picked]
    assert befores == ["g", "e", "d", None]
    with pytest.raises(VersionNotFound):
        ReversionVersion.of(one).pick([*keys, 4711])
    assert ReversionVersion.of(one).pick([]) == []


# -- Histories


def test_a_page_of_a_hundred_versions_with_users_and_changes_is_one_query(django_assert_num_queries: Counted) -> None:
    """Revisions and users are joined; the one before the last of the page is read with it."""
    one, users = Desk(), [User.objects.create(username=f"u{number}") for number in range(5)]
    for number in range(105):
        with revision(f"change {number}", users[number % 5]):
            one.name = f"n{number}"
            one.save()
    ContentType.objects.get_for_model(Desk)

    with django_assert_num_queries(1):
        page = ReversionVersion.of(Desk, one.pk)[0:100]
        for at, version in enumerate(page):
            number = 104 - at
            assert version.user == users[number % 5] and version.comment == f"change {number}"
            assert version.version == number + 1
            changes = version.changes(version.previous)
            assert changes == {"name": {"old": f"n{number - 1}", "changed": f"n{number}"}}
        assert not page[0].next
    with django_assert_num_queries(1):
        rest = ReversionVersion.of(one)[100:200]
        assert len(rest) == 5 and rest[-1].previous is None


def test_a_page_of_a_model_with_two_tables_is_one_query_more(django_assert_num_queries: Counted) -> None:
    """Whatever else was in the same revisions."""
    publisher = Publisher.objects.create(name="house")
    magazine = Magazine.objects.create(title="m", publisher=publisher)
    one, other = Supplement(magazine=magazine), Supplement(magazine=magazine)
    for number in range(12):
        with revision():
            for each in (one, other):
                each.theme, each.number = f"t{number}", number
                each.save()
    ContentType.objects.get_for_models(Supplement, Issue)

    with django_assert_num_queries(2):
        page = ReversionVersion.of(one)[0:10]
        for at, version in enumerate(page):
            assert version.data["id"] == one.pk and version.data["number"] == 11 - at
            assert set(version.changes(version.previous) or ()) == {"theme", "number"}


def test_a_history_is_a_sequence_for_paginators() -> None:
    """It counts, is sliced, and warns of nothing."""
    one = desk(*"abcde")
    versions = ReversionVersion.of(one)
    paginator: Paginator[Any] = Paginator(versions, 2)

    names = [[version.data["name"] for version in paginator.page(number)] for number in paginator.page_range]
    assert names == [["e", "d"], ["c", "b"], ["a"]]
    assert len(versions) == versions.count() == 5 and [version.version for version in versions] == [5, 4, 3, 2, 1]
    assert versions[1].data["name"] == "d" and versions[1].next.data["name"] == "e"
    assert versions[7:9] == [] and versions[2:2] == [] and versions[3:1] == []
    for index in (5, -1):
        with pytest.raises(IndexError):
            versions[index]
    with pytest.raises(ValueError, match="no step"):
        versions[::2]


def test_the_history_of_an_object_that_has_none_is_empty() -> None:
    """As that of one that never was."""
    one = Desk.objects.create(name="a")

    assert history(one) == [] and len(ReversionVersion.of(one)) == 0
    assert ReversionVersion.of(Desk, "no key at all")[:] == []


def test_an_object_keeps_its_history_when_it_is_gone() -> None:
    """By its model and key."""
    one = desk("a", "b")
    key = one.pk
    one.delete(hard=True)

    assert [version.data["name"] for version in ReversionVersion.of(Desk, key)] == ["b", "a"]


@pytest.mark.parametrize("key", [uuid.uuid4(), uuid.UUID(int=7)])
def test_any_primary_key_will_do(key: uuid.UUID) -> None:
    """A UUID, as itself or as the text that a page names."""
    photo = Photo(pk=key, caption="x")
    saved(photo)

    for versions in (ReversionVersion.of(photo), ReversionVersion.of(Photo, key), ReversionVersion.of(Photo, str(key))):
        (version,) = versions
        assert version.data["id"] == key and version.belongs_to(photo)


# -- What can't be read


def broken(version: ReversionVersion, **values: Any) -> None:
    Stored.objects.filter(pk=version.id).update(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"serialized_data": ""},
        {"serialized_data": "{"},
        {"serialized_data": "[]"},
        {"serialized_data": "[1]"},
        {"serialized_data": '[{"pk": 1}]'},
        {"serialized_data": "null"},
        {"format": "no such format"},
        {"format": "xml"},
    ],
    ids=str,
)
def test_a_snapshot_that_cant_be_read_says_so_and_breaks_nothing(
    values: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """It holds nothing, and is no change from what was before; the others are shown."""
    one = desk("a", "b", "c")
    broken(history(one)[1], **values)

    third, second, first = history(one)
    assert (third.is_readable, second.is_readable, first.is_readable) == (True, False, True)
    assert second.data == {} and second.version is None and second.object_repr == "b"
    assert [version.changes(version.previous) for version in (third, second)] == [{}, {}]
    assert f"Version {second.id} of newsroom.Desk can't be read" in caplog.text


def test_a_field_that_the_model_has_no_more_is_not_shown() -> None:
    """And one that it did not have then is not made up."""
    one = desk("a", "b")
    first = history(one)[1]
    (row,) = json.loads(first.stored.serialized_data)
    row["fields"]["colour"] = "red"
    del row["fields"]["name"]
    broken(first, serialized_data=json.dumps([row]))

    second, first = history(one)
    assert "colour" not in first.data and "name" not in first.data and first.is_readable
    assert second.changes(first) == {"name": {"old": None, "changed": "b"}}


def test_a_value_that_fits_no_more_is_shown_as_it_is_stored() -> None:
    """The type of the field was another one."""
    story = Story(title="s", words=5)
    version = saved(story)
    (row,) = json.loads(version.stored.serialized_data)
    row["fields"].update(words="many", photos=["x"], desk=["by", "name"])
    broken(version, serialized_data=json.dumps([row]))

    assert newest(story).is_readable
    assert [newest(story).data[name] for name in ("words", "photos", "desk_id")] == ["many", ["x"], ["by", "name"]]


def test_what_belongs_to_the_database_is_never_shown() -> None:
    """Also where the site has registered the model by itself, with all of its columns."""
    one = desk("a")
    version = newest(one)
    (row,) = json.loads(version.stored.serialized_data)
    row["fields"].update(change_stamp=5, change_batch=None, former_status="")
    broken(version, serialized_data=json.dumps([row]))

    assert not {"change_stamp", "change_batch", "former_status"} & set(newest(one).data)


def test_the_version_of_a_model_that_is_gone_has_no_model() -> None:
    """Its app is not installed any more."""
    version = newest(desk("a"))
    gone = ContentType.objects.create(app_label="oldroom", model="desk")
    broken(version, content_type=gone)

    left = ReversionVersion(version.id)
    assert left.model is None and left.data == {} and not left.belongs_to(Desk(pk=1))


def test_another_format_than_json_is_read_too() -> None:
    """As Django's serializers know it."""
    reversion.unregister(Story)
    reversion.register(Story, format="xml", exclude=("change_stamp",))
    try:
        photo, above = Photo.objects.create(), Desk.objects.create(name="d")
        story = Story(title="s", desk=above, words=3)
        with revision():
            story.save()
            story.photos.add(photo)
        saved(story, title="t")

        later, earlier = history(story)
        assert later.stored.format == "xml" and later.version == 2
        assert later.data["desk_id"] == above.pk and later.data["photos"] == [photo.pk]
        assert later.changes(earlier) == {"title": {"old": "s", "changed": "t"}}
        assert "change_batch" not in later.data
    finally:
        reversion.unregister(Story)
        register(Story)


# -- What is registered


def test_registering_again_changes_nothing() -> None:
    """The admin does it for each of its models, and a site may have done it before."""
    assert register(Desk) is Desk and register(Desk, exclude=["name"]) is Desk
    assert "name" in saved(Desk(name="a")).data


def test_options_are_those_of_reversion() -> None:
    """What is excluded is in no snapshot, nor what belongs to the database only."""
    reversion.unregister(Desk)
    try:
        register(Desk, exclude=["name"])
        assert set(saved(Desk(name="a")).data) == {"id", "status", "created", "updated", "version", "above_id"}
    finally:
        reversion.unregister(Desk)
        register(Desk)


@isolate_apps("newsroom")
def test_what_a_model_inherits_from_is_registered_with_it() -> None:
    """Usable as a decorator, where models are still being made."""

    class Paper(HandleRefModel):
        title = models.CharField(max_length=10)

        class Meta:
            app_label = "newsroom"

    @register
    class Daily(Paper):
        class Meta:
            app_label = "newsroom"

    try:
        assert reversion.is_registered(Daily) and reversion.is_registered(Paper)
    finally:
        reversion.unregister(Daily)
        reversion.unregister(Paper)


def test_objects_saved_through_a_proxy_share_one_history() -> None:
    """Whichever of the two saved them."""
    publisher = Publisher.objects.create(name="house")
    one = SpecialIssue(magazine=Magazine.objects.create(title="m", publisher=publisher), number=1)
    saved(one)
    plain = Issue.objects.get(pk=one.pk)
    saved(plain, number=2)

    for given_object in (one, plain):
        assert [version.data["number"] for version in ReversionVersion.of(given_object)] == [2, 1]
        assert newest(given_object).belongs_to(given_object)


def test_a_model_that_is_not_registered_has_no_history() -> None:
    """That is an error of the site's, and said."""
    with pytest.raises(reversion.RegistrationError):
        ReversionVersion.of(Article, 1)


# -- Deletion and restoration


def family(count: int) -> tuple[Publisher, list[Magazine]]:
    publisher = Publisher.objects.create(name="house")
    return publisher, [Magazine.objects.create(title=f"m{at}", publisher=publisher) for at in range(count)]


def test_what_is_deleted_softly_with_an_object_is_in_its_revision() -> None:
    """Each with the number after its deletion; and again what is restored with it."""
    publisher, magazines = family(3)
    ada = User.objects.create(username="ada")
    with revision("gone", ada):
        publisher.delete()
    with revision("back", ada):
        publisher.undelete()

    for one in (publisher, *magazines):
        back, gone = history(one)
        assert (gone.data["status"], gone.version, gone.comment, gone.user) == ("deleted", 2, "gone", ada)
        assert (back.data["status"], back.version, back.comment) == ("", 3, "back")
        assert back.changes(gone) == {"status": {"old": "deleted", "changed": ""}}
    assert Revision.objects.count() == 2


def test_bulk_deletion_is_in_the_revision() -> None:
    """Of querysets, as the admin's action deletes."""
    publisher, magazines = family(3)
    with revision():
        Magazine.objects.filter(publisher=publisher).delete()

    assert [newest(magazine).data["status"] for magazine in magazines] == ["deleted"] * 3
    assert history(publisher) == []


def test_deletion_reads_what_it_puts_into_the_revision_at_once(django_assert_max_num_queries: Counted) -> None:
    """Not an object at a time, nor the many-to-many fields of each."""
    above = Desk.objects.create(name="d")
    for number in range(30):
        story = Story.objects.create(title=f"s{number}", desk=above)
        story.photos.add(Photo.objects.create())
    with revision(), django_assert_max_num_queries(12):
        Story.objects.filter(desk=above).delete()

    assert Stored.objects.count() == 30
    assert all(len(ReversionVersion(stored).data["photos"]) == 1 for stored in Stored.objects.all())


def test_a_row_of_two_tables_is_in_the_revision_with_both() -> None:
    """Under whichever of its models it was deleted."""
    _publisher, (magazine,) = family(1)
    one = Supplement.objects.create(magazine=magazine, theme="t")
    other = Supplement.objects.create(magazine=magazine, theme="u")
    with revision():
        one.delete()
    with revision():
        Issue.objects.filter(pk=other.pk).delete()

    for each in (one, other):
        assert newest(each).data["status"] == "deleted" and newest(each).data["theme"] == each.theme
        assert newest(Issue.objects.get(pk=each.pk)).data["status"] == "deleted"


def test_deletion_outside_of_a_revision_and_by_hand_is_in_none() -> None:
    """As with saves: the site decides what is put down."""
    one = desk("a")
    one.delete()
    one.undelete()
    with reversion.create_revision(manage_manually=True):
        one.delete()

    assert len(history(one)) == 1


def test_what_is_not_registered_is_deleted_as_ever() -> None:
    """It has no history."""
    reversion.unregister(Photo)
    try:
        photo = Photo.objects.create()
        with revision():
            photo.delete()
        assert photo.status == "deleted" and not Stored.objects.exists()
    finally:
        register(Photo)


def test_bulk_updates_are_in_no_revision_unless_added() -> None:
    """They send no signals."""
    one = desk("a")
    with revision():
        Desk.objects.filter(pk=one.pk).update(name="b")
    assert len(history(one)) == 1
    with revision():
        Desk.objects.filter(pk=one.pk).update(name="c")
        reversion.add_to_revision(Desk.objects.get(pk=one.pk))

    assert newest(one).data["name"] == "c" and newest(one).version == 3


def test_a_revision_that_is_undone_leaves_nothing() -> None:
    """Neither the change nor its version."""
    one = desk("a")
    with pytest.raises(ZeroDivisionError), revision():
        one.delete()
        _ = 1 / 0
    with transaction.atomic():
        one.refresh_from_db()

    assert one.status == "" and len(history(one)) == 1


# -- Without django-reversion

WITHOUT = """
import django, sys
import settings.base
settings.base.INSTALLED_APPS.remove("reversion")
django.setup()
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
import footfall.storage.admin
from footfall.storage import versions
call_command("check", "--fail-level", "WARNING")
call_command("migrate", verbosity=0)
from django.contrib.auth.models import User
for used in (
    lambda: versions.ReversionVersion(None), lambda: versions.ReversionVersion(1), lambda: versions.register(User),
    lambda: versions.ReversionVersion.of(User, 1),
    lambda: versions.ReversionReverter().recorded(None, None, "").__enter__(),
):
    try:
        used()
    except ImproperlyConfigured as error:
        assert "footfall[history]" in str(error)
    else:
        raise AssertionError("it was used")
assert versions.Diff(None, None).changes is None and not versions.is_installed()
assert not [name for name in sys.modules if name.split(".")[0] == "reversion"]
print("done")
"""


def test_without_reversion_all_is_importable_and_use_of_it_says_what_to_install(tmp_path: Path) -> None:
    """Nothing of it is imported, though the package be there."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "settings.embedded",
        "FOOTFALL_SCRATCH": str(tmp_path),
        "FOOTFALL_SQLITE": str(tmp_path / "without.sqlite3"),
    }
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, check=False)

    assert done.stdout.strip().endswith("done"), done.stderr


def test_require_names_the_extra(settings: Any) -> None:
    """The same in a site that has it no more."""
    settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "reversion"]

    with pytest.raises(ImproperlyConfigured, match=r"footfall\[history\]"):
        ReversionVersion(1)
