"""Saving: one time and one version for each save, whatever way it goes, and an object that shows what is stored."""

import copy
import json
import pickle
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import serializers
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, connection, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.models import F
from django.db.models.signals import post_save, pre_save
from django.test.utils import CaptureQueriesContext, isolate_apps
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.references import CreatedDateTimeField, HandleRefModel, UpdatedDateTimeField, VersionField

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
LATER = LONG_AGO + timedelta(days=400)

Make = Callable[[], HandleRefModel]


def publisher(**values: Any) -> Publisher:
    return Publisher.objects.create(**{"name": uuid.uuid4().hex, **values})


def issue(model: type[Issue] = Issue, **values: Any) -> Any:
    return model.objects.create(magazine=Magazine.objects.create(title="M", publisher=publisher()), **values)


def stored(one: models.Model) -> Any:
    return models.QuerySet(one.__class__).get(pk=one.pk)


def account(one: Any) -> tuple[Any, ...]:
    return one.created, one.updated, one.version, one.change_stamp


#: Objects of every kind of key and of inheritance, each saved for the first time.
KINDS: dict[str, Make] = {
    "number": publisher,
    "uuid": Photo.objects.create,
    "text": lambda: Masthead.objects.create(slug="front"),
    "related": issue,
    "inherited": lambda: issue(Supplement, theme="t"),
    "proxy": lambda: issue(SpecialIssue),
    "get_or_create": lambda: Publisher.objects.get_or_create(name="a")[0],
    "update_or_create": lambda: Publisher.objects.update_or_create(name="a", defaults={"note": "n"})[0],
    "bulk_create": lambda: Publisher.objects.bulk_create([Publisher(name="a")])[0],
    "related manager": lambda: publisher().magazines.create(title="M"),
    "key of the caller's": lambda: Publisher.objects.create(pk=4711, name="a"),
}

kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


# -- Times


@kinds
@pytest.mark.django_db
def test_hr_01_created_is_updated_when_an_object_is_born(make: Make) -> None:
    """One reading of the clock, which the object shows as it is stored."""
    before = datetime.now(UTC)

    born = make()

    assert before <= born.created == born.updated <= datetime.now(UTC)
    assert account(stored(born)) == account(born)


@kinds
@pytest.mark.django_db
def test_hr_02_every_save_sets_updated_and_leaves_created(make: Make) -> None:
    """Also one that changes nothing."""
    one = make()
    born = one.created

    one.save(skip_unchanged=False)

    assert one.created == born < one.updated
    assert account(stored(one)) == account(one)


@pytest.mark.django_db
def test_fields_of_a_table_below_are_born_at_the_same_time_too() -> None:
    """The row of a model that inherits from another has no times of its own."""
    one = issue(Supplement, theme="t")

    assert account(Issue.objects.get(pk=one.pk)) == account(one)


@pytest.mark.django_db(transaction=True)
@isolate_apps("newsroom")
def test_the_fields_serve_in_a_plain_model() -> None:
    """Born at one time; then `updated` moves, and the version counts in the database, without `HandleRefModel`."""

    class Plain(models.Model):
        changed = UpdatedDateTimeField()
        born = CreatedDateTimeField()
        number = VersionField(default=0)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return f"{self.number}"

    with connection.schema_editor() as editor:
        editor.create_model(Plain)
    try:
        one = Plain.objects.create()
        assert one.born == one.changed and one.number == 1
        one.save()
        one.save()
        again = Plain.objects.get()
        assert again.born == one.born < again.changed and again.number == 3
        (many,) = Plain.objects.bulk_create([Plain()])
        assert many.born == many.changed and many.number == 1
    finally:
        with connection.schema_editor() as editor:
            editor.delete_model(Plain)


def test_the_labels_of_the_time_fields_are_created_and_updated() -> None:
    """Where no other is given; they can't be edited."""
    assert str(CreatedDateTimeField().verbose_name) == "Created" and str(UpdatedDateTimeField("x").verbose_name) == "x"
    assert str(UpdatedDateTimeField().verbose_name) == "Updated"
    assert CreatedDateTimeField().auto_now_add and UpdatedDateTimeField().auto_now
    assert not CreatedDateTimeField().editable and not UpdatedDateTimeField().editable


def test_migrations_name_the_public_module() -> None:
    """And a site's own subclass where it is."""

    class Own(CreatedDateTimeField):
        pass

    assert CreatedDateTimeField().deconstruct()[1] == "footfall.storage.references.CreatedDateTimeField"
    assert VersionField().deconstruct()[1] == "footfall.storage.references.VersionField"
    assert Own().deconstruct()[1].startswith(__name__)


# -- Version


@kinds
@pytest.mark.django_db
def test_hr_20_the_version_is_one_at_birth_and_one_more_with_each_save(make: Make) -> None:
    """The object shows it without being read again."""
    one = make()
    assert one.version == stored(one).version == 1

    for version in (2, 3, 4):
        one.save(skip_unchanged=False)
        assert one.version == stored(one).version == version


@pytest.mark.django_db
def test_hr_41_four_saves_of_one_live_object_are_four_versions() -> None:
    """And the object shows it."""
    one = Publisher(name="a")
    for version in (1, 2, 3, 4):
        one.save()
        assert one.version == version

    assert stored(one).version == 4


@pytest.mark.django_db
def test_hr_41_four_revisions_of_one_live_object_are_four_versions() -> None:
    """A revision of django-reversion adds nothing of its own."""
    from reversion import create_revision

    one = Publisher(name="a")
    for version in (1, 2, 3, 4):
        with create_revision():
            one.save()
        assert one.version == stored(one).version == version


@pytest.mark.django_db
def test_a_stale_object_takes_no_version_back() -> None:
    """Nor one whose number was changed by hand."""
    one = publisher()
    stale = stored(one)
    for _ in range(5):
        one.save()

    stale.save()
    assert stale.version == stored(one).version == 7

    one.version = 1000
    one.save()
    assert one.version == stored(one).version == 8


@pytest.mark.django_db
def test_after_a_save_that_was_rolled_back_the_next_one_shows_what_is_stored() -> None:
    """The object may be ahead of its row for a while."""
    one = publisher()
    with transaction.atomic():
        one.save()
        one.save()
        transaction.set_rollback(True)
    assert one.version == 3

    with transaction.atomic():
        one.save()

    assert one.version == stored(one).version == 2


def threads(count: int, work: Callable[[], None]) -> None:
    """Run ``work`` in so many at once, and close their connections."""
    together, failures = Barrier(count), list[BaseException]()

    def run() -> None:
        try:
            together.wait()
            work()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    running = [Thread(target=run) for _ in range(count)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    assert not failures, failures


@pytest.mark.django_db(transaction=True)
def test_four_threads_save_one_live_object_a_thousand_times_each() -> None:
    """Its version says 4,000 more, and so does the object that they share."""
    one = publisher()

    def work() -> None:
        for _ in range(1000):
            one.save()

    threads(4, work)

    assert one.version == stored(one).version == 4001
    assert one.change_stamp == stored(one).change_stamp


@pytest.mark.django_db(transaction=True)
def test_four_threads_save_objects_of_their_own_of_one_row() -> None:
    """No two of the saves get one number."""
    key, numbers = publisher().pk, list[int]()

    def work() -> None:
        one = Publisher.objects.get(pk=key)
        for _ in range(250):
            one.save()
            numbers.append(one.version)

    threads(4, work)

    assert sorted(numbers) == list(range(2, 1002))
    assert Publisher.objects.get(pk=key).version == 1001


# -- How Django saves


@pytest.mark.django_db
def test_update_fields_write_what_they_name_and_the_account() -> None:
    """Other fields keep what is stored."""
    one = publisher(note="stored")
    one.note, one.name = "not to be", "new"
    before = one.updated

    one.save(update_fields=["name"])

    assert (stored(one).name, stored(one).note) == ("new", "stored")
    assert one.version == stored(one).version == 2
    assert before < one.updated == stored(one).updated


@pytest.mark.django_db
def test_no_update_fields_are_no_save() -> None:
    """As Django has it: an empty list writes nothing."""
    one = publisher()

    one.save(update_fields=[])

    assert one.version == stored(one).version == 1


@pytest.mark.django_db
@pytest.mark.parametrize("hide", [("only", "name"), ("defer", "version"), ("defer", "updated"), ("defer", "created")])
def test_an_object_that_is_loaded_in_part_is_counted_whole(hide: tuple[str, str]) -> None:
    """What was not loaded is shown after the save, but for `created`, which nobody has asked for."""
    born = publisher(note="kept")
    one: Publisher = getattr(Publisher.objects, hide[0])(hide[1]).get()
    one.name = "new"

    one.save()

    assert {"version", "updated", "change_stamp"} <= one.__dict__.keys()
    again = stored(one)
    assert (again.name, again.note, again.version, again.created) == ("new", "kept", 2, born.created)
    assert account(one) == account(again)


@pytest.mark.django_db
def test_a_forced_update_of_what_is_not_there_is_an_error() -> None:
    """As Django has it; also by update_fields."""
    for arguments in ({"force_update": True}, {"update_fields": ["name"]}):
        with pytest.raises(DatabaseError, match="did not affect any rows"), transaction.atomic():
            Publisher(pk=4711, name="a").save(**arguments)
    assert not Publisher.objects.exists()


@pytest.mark.django_db
def test_a_forced_insert_of_what_is_there_is_an_error() -> None:
    """As Django has it, and nothing is counted."""
    one = publisher()
    for force in (True, (Publisher,)):
        with pytest.raises(IntegrityError), transaction.atomic():
            Publisher(pk=one.pk, name="other").save(force_insert=force)

    assert stored(one).version == 1


@pytest.mark.django_db
@pytest.mark.parametrize("selecting", [False, True])
def test_a_key_of_the_callers_that_is_not_there_is_inserted(selecting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``select_on_save`` as well."""
    monkeypatch.setattr(Masthead._meta, "select_on_save", selecting)
    one = Masthead(slug="front")

    one.save()
    assert one.version == 1 and one.created == one.updated

    one.save()
    assert one.version == stored(one).version == 2


@pytest.mark.django_db
def test_a_key_of_the_callers_that_is_there_is_updated_and_keeps_its_birth() -> None:
    """An object that was made and not loaded doesn't know it, and shows it afterwards."""
    born = Masthead.objects.create(slug="front").created
    one = Masthead(slug="front")

    one.save()

    assert one.created == stored(one).created == born < one.updated
    assert one.version == 2


@pytest.mark.django_db
def test_a_copy_is_a_new_object() -> None:
    """With times and a version of its own, and no share in what its original went through."""
    one = publisher()
    one.save()
    Publisher.objects.filter(pk=one.pk).update(change_batch=uuid.uuid4(), former_status="draft")
    twin = stored(one)
    twin.pk, twin.name, twin._state.adding = None, "twin", True

    twin.save()

    assert twin.version == stored(twin).version == 1
    assert twin.created == twin.updated > one.updated
    assert stored(twin).change_batch is None and stored(twin).former_status == ""


@pytest.mark.django_db
def test_saving_what_was_loaded_before_a_deletion_leaves_its_traces() -> None:
    """Of the deletion an ordinary save writes nothing but the status."""
    one, batch = publisher(), uuid.uuid4()
    Publisher.objects.filter(pk=one.pk).update(change_batch=batch, former_status="draft")

    one.save()

    assert (stored(one).change_batch, stored(one).former_status) == (batch, "draft")


@pytest.mark.django_db
def test_a_row_of_two_tables_is_counted_once() -> None:
    """Also where the fields named are those of the lower table only, and under the name of the upper one."""
    one = issue(Supplement, theme="a")
    one.theme = "b"
    before = one.updated

    one.save(update_fields=["theme"])
    assert one.version == stored(one).version == 2 and before < stored(one).updated == one.updated

    one.theme, one.number = "c", 5
    one.save()
    assert one.version == stored(one).version == 3

    above = Issue.objects.get(pk=one.pk)
    above.save()
    assert above.version == stored(one).version == 4 and stored(one).theme == "c"


@pytest.mark.django_db
def test_a_lower_row_for_an_upper_one_that_is_there_is_one_change_of_it() -> None:
    """The upper row has its times and its number, and the object that is made of both shows them."""
    above = issue()
    below = Supplement(issue_ptr=above, theme="t")
    below.__dict__.update({name: value for name, value in above.__dict__.items() if name != "_state"})

    below.save()

    assert below.version == stored(above).version == 2 and stored(above).created == above.created


@pytest.mark.django_db
def test_a_proxy_counts_the_row_of_its_model() -> None:
    """It is the same object."""
    one = issue()
    special = SpecialIssue.objects.get(pk=one.pk)

    special.save()

    assert special.version == stored(one).version == 2


@pytest.mark.django_db(transaction=True)
def test_asave_saves() -> None:
    """With what `save` takes."""
    one = publisher()

    async_to_sync(one.asave)()
    assert one.version == stored(one).version == 2

    one.updated = LATER
    async_to_sync(one.asave)(keep_times=True, update_fields=["name"])
    assert stored(one).updated == LATER and one.version == 3

    async_to_sync(one.asave)(skip_unchanged=True)
    assert stored(one).version == 3


def test_what_writes_is_marked_for_templates() -> None:
    """A template that names such a method doesn't call it."""
    for method in ("save", "asave", "delete", "adelete", "undelete"):
        assert getattr(HandleRefModel, method).alters_data
    for method in ("update", "bulk_create", "bulk_update", "delete", "undelete"):
        assert getattr(Publisher.objects.all(), method).alters_data


@pytest.mark.django_db
def test_an_object_that_is_read_again_or_travels_shows_its_account() -> None:
    """`refresh_from_db`, pickles and copies."""
    one = publisher()
    Publisher.objects.update(note="n")

    one.refresh_from_db()
    assert one.version == 2 and account(one) == account(stored(one))

    for other in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert other == one and account(other) == account(one) and other.ref_tag == "org"
        other.save()
        assert other.version == stored(one).version
    one.refresh_from_db(fields=["version"])
    assert one.version == 5


@pytest.mark.django_db
def test_a_save_that_the_database_refuses_leaves_the_block_around_usable() -> None:
    """With a savepoint around it, as with any model; the object says what it said."""
    publisher(name="taken")
    one = publisher()
    before = account(one)
    with transaction.atomic():
        one.name = "taken"
        with pytest.raises(IntegrityError), transaction.atomic():
            one.save()
        one.name = "free"
        one.save()

    assert stored(one).name == "free" and one.version == stored(one).version == 2
    assert before[0] == one.created


@pytest.mark.django_db(transaction=True)
def test_a_save_that_the_database_refuses_leaves_no_transaction_behind() -> None:
    """Outside of any block the next query goes as if there had been none."""
    publisher(name="taken")

    with pytest.raises(IntegrityError):
        publisher(name="taken")

    assert not connection.in_atomic_block and Publisher.objects.count() == 1


@pytest.mark.django_db
def test_a_refused_get_or_create_finds_the_other() -> None:
    """The row is found, and not counted."""
    one = publisher(name="a")

    found, created = Publisher.objects.get_or_create(name="a")

    assert (found.pk, created, found.version) == (one.pk, False, 1)


@pytest.mark.django_db
def test_update_or_create_counts_the_update() -> None:
    """And names the account among the fields that it writes."""
    publisher(name="a")

    found, created = Publisher.objects.update_or_create(name="a", defaults={"note": "n"})

    assert not created and found.version == stored(found).version == 2 and stored(found).note == "n"
    assert found.created < found.updated == stored(found).updated


@pytest.mark.django_db(transaction=True)
def test_a_save_is_one_statement() -> None:
    """On PostgreSQL; on SQLite two in a transaction, the first of which raises the counter."""
    one = publisher()
    with CaptureQueriesContext(connection) as queries:
        one.save()
    statements = [query["sql"] for query in queries]
    if connection.vendor == "postgresql":
        (update,) = statements
    else:
        begin, counter, update, commit = statements
        assert (begin.split()[0], commit) == ("BEGIN", "COMMIT") and "footfall_storage_changecounter" in counter
    assert update.startswith("UPDATE") and "RETURNING" in update


@pytest.mark.django_db
def test_in_a_transaction_a_save_is_one_statement_or_two() -> None:
    """Without savepoints; a first save likewise."""
    expected = 1 if connection.vendor == "postgresql" else 2
    with CaptureQueriesContext(connection) as queries:
        one = publisher()
    assert len(queries) == expected

    with CaptureQueriesContext(connection) as queries:
        one.save(update_fields=["name"])
    assert len(queries) == expected


# -- Fixtures


@pytest.mark.django_db
def test_fixtures_say_what_the_row_is_to_be_but_for_its_stamp(tmp_path: Any) -> None:
    """loaddata keeps times, version and status, for new rows and for those that are there."""
    one, other = publisher(name="a"), publisher(name="b", status="deleted")
    one.save()
    fixture = tmp_path / "publishers.xml"  # JSON has milliseconds only
    call_command("dumpdata", "newsroom.publisher", format="xml", output=str(fixture), verbosity=0)
    one.save()
    other.delete(hard=True)
    late = publisher().change_stamp

    call_command("loaddata", str(fixture), verbosity=0)

    again, back = Publisher.objects.get(name="a"), Publisher.objects.get(name="b")
    assert (again.version, back.version, back.status) == (2, 1, "deleted")
    assert again.created == one.created and again.updated < one.updated
    if connection.vendor == "postgresql":  # the test is one transaction
        assert again.change_stamp == back.change_stamp == late
    else:
        assert late < again.change_stamp and late < back.change_stamp


@pytest.mark.django_db
def test_a_deserialized_object_shows_its_stamp() -> None:
    """And the version that it said."""
    one = issue(Supplement, theme="t")
    text = json.dumps([{**json.loads(serializers.serialize("json", [one.issue_ptr]))[0], "pk": 4711}])

    for version in (1, 1):
        (read,) = serializers.deserialize("json", text)
        read.save()
        loaded: Any = read.object
        assert isinstance(loaded.change_stamp, int) and loaded.version == version
        assert account(loaded) == account(stored(loaded))


# -- Times of another system


@pytest.mark.django_db
def test_a_mirror_keeps_the_times_that_it_is_given() -> None:
    """At birth and later; the version counts here."""
    one = Publisher(name="a", created=LONG_AGO, updated=LATER)
    one.save(keep_times=True)
    assert account(stored(one))[:3] == (LONG_AGO, LATER, 1)

    one.updated = LATER + timedelta(hours=1)
    one.save(keep_times=True)
    assert account(stored(one))[:3] == (LONG_AGO, LATER + timedelta(hours=1), 2)

    one.save()
    assert stored(one).updated > LATER + timedelta(hours=1) and stored(one).created == LONG_AGO


@pytest.mark.django_db
def test_times_that_a_mirror_does_not_know_are_now() -> None:
    """At birth both the same; later, `created` is what it was."""
    one = Publisher(name="a")
    one.save(keep_times=True)
    assert one.created == one.updated and stored(one).created == one.created

    again = Publisher(pk=one.pk, name="a")
    again.save(keep_times=True)
    assert again.created == stored(one).created == one.created < again.updated

    half = Publisher(name="b", created=LONG_AGO)
    half.save(keep_times=True)
    assert stored(half).created == LONG_AGO < stored(half).updated


@pytest.mark.django_db
def test_a_mirror_keeps_times_also_where_update_fields_do_not_name_them() -> None:
    """Those that the object has; a time that was not loaded stays as it is stored."""
    one = publisher()
    born = one.created
    one.updated = LATER

    one.save(keep_times=True, update_fields=["name"])
    assert stored(one).updated == LATER and stored(one).created == born

    part = Publisher.objects.only("name").get()
    part.save(keep_times=True)
    assert stored(one).updated == LATER and stored(one).version == 3


@pytest.mark.django_db
def test_a_touch_that_is_no_change_keeps_updated() -> None:
    """What an import writes need not count as recently updated."""
    one = publisher()
    before = one.updated

    one.save(keep_times=True)

    assert stored(one).updated == before and one.version == 2


@pytest.mark.django_db
def test_kept_times_are_of_this_object_only() -> None:
    """What its signals save, the same kind or another, has times of its own; and what is saved after an error too."""
    other, desk = publisher(created=LONG_AGO), Desk(name="d", created=LONG_AGO, updated=LONG_AGO)
    other.updated = LONG_AGO

    def save_others(sender: Any, instance: Any, **_: Any) -> None:
        if instance.name == "mirror":
            other.save()
            desk.save()

    for signal in (pre_save, post_save):
        signal.connect(save_others, sender=Publisher)
    try:
        Publisher(name="mirror", created=LONG_AGO, updated=LONG_AGO).save(keep_times=True)
    finally:
        for signal in (pre_save, post_save):
            signal.disconnect(save_others, sender=Publisher)

    assert Publisher.objects.get(name="mirror").updated == LONG_AGO
    assert stored(other).updated > LONG_AGO and stored(desk).updated > LONG_AGO and stored(desk).created > LONG_AGO

    with pytest.raises(IntegrityError), transaction.atomic():
        Publisher(name="mirror", updated=LONG_AGO).save(keep_times=True)
    assert publisher(updated=LONG_AGO).updated > LONG_AGO


@pytest.mark.django_db
def test_a_mirror_of_two_tables_keeps_times_too() -> None:
    """The upper table has them."""
    one = Supplement(magazine=Magazine.objects.create(title="M", publisher=publisher()), created=LONG_AGO)
    one.updated = LATER

    one.save(keep_times=True)

    assert account(stored(one))[:3] == (LONG_AGO, LATER, 1)


# -- Saves that change nothing


@pytest.mark.django_db
def test_hr_44_a_save_that_changes_nothing_can_be_left_out() -> None:
    """By the inner class or by an argument, which goes before; no signal is sent."""
    sent: list[Any] = []

    def note(sender: Any, instance: Any, **_: Any) -> None:
        sent.append(instance)

    photo, one = Photo.objects.create(caption="c"), publisher()
    before = account(photo), account(one)
    for signal in (pre_save, post_save):
        signal.connect(note)
    try:
        photo.save()
        one.save(skip_unchanged=True)
        photo.save(update_fields=["caption"])
    finally:
        for signal in (pre_save, post_save):
            signal.disconnect(note)
    assert sent == [] and (account(stored(photo)), account(stored(one))) == before

    photo.save(skip_unchanged=False)
    one.save()
    assert (photo.version, one.version) == (2, 2)


@pytest.mark.django_db
def test_hr_44_a_save_that_changes_something_is_made() -> None:
    """A field, the status, a value against what is stored now and not what was loaded."""
    photo = Photo.objects.create(caption="c")
    stale = stored(photo)

    photo.caption = "d"
    photo.save()
    photo.status = "hidden"
    photo.save()
    assert photo.version == 3

    stale.save()  # which says "c" again
    assert stale.version == 4 and stored(photo).caption == "c"

    photo.caption = "not written"
    photo.save(update_fields=["status"])  # which differs from the stale one's
    assert (stored(photo).status, stored(photo).version) == ("hidden", 5)
    photo.save(update_fields=["status"])
    assert stored(photo).version == 5


@pytest.mark.django_db
def test_an_object_loaded_in_part_is_compared_in_part() -> None:
    """What was not loaded is not fetched for that."""
    publisher(note="n")
    one = Publisher.objects.only("name").get()

    with CaptureQueriesContext(connection) as queries:
        one.save(skip_unchanged=True)

    assert len(queries) == 1 and "note" not in one.__dict__
    one.name = "new"
    one.save(skip_unchanged=True)
    assert stored(one).version == 2


@pytest.mark.django_db
def test_an_expression_is_a_change() -> None:
    """Nobody knows its value before."""
    story = Story.objects.create(title="t", words=1)
    story.words = F("words") + 1

    story.save(skip_unchanged=True)

    assert stored(story).words == 2 and story.version == 2


@pytest.mark.django_db
def test_values_are_compared_as_they_are_stored() -> None:
    """A number or a key given as a text; a key that is an object."""
    desk = Desk.objects.create(name="d")
    story = Story.objects.create(title="t", words=7, desk=desk)

    story.words, story.desk_id = "7", str(desk.pk)
    story.save(skip_unchanged=True)
    assert stored(story).version == 1

    photo = Photo.objects.create()
    photo.pk = str(photo.pk)
    photo.save()
    assert stored(photo).version == 1

    story.words = "many"
    with pytest.raises(ValueError, match="many"):
        story.save(skip_unchanged=True)


@pytest.mark.django_db
def test_relations_to_many_are_no_change_of_the_row() -> None:
    """They are written when they are set, not when the object is saved."""
    story = Story.objects.create(title="t")
    story.photos.add(Photo.objects.create())

    story.save(skip_unchanged=True)

    assert stored(story).version == 1


@pytest.mark.django_db
def test_times_of_a_mirror_are_a_change() -> None:
    """Its `updated` is to be that of the master, though nothing else differs."""
    photo = Photo.objects.create()
    photo.updated = LATER

    photo.save()
    assert stored(photo).version == 1

    photo.save(keep_times=True)
    assert stored(photo).updated == LATER and photo.version == 2
    photo.save(keep_times=True)
    assert photo.version == 2


@pytest.mark.django_db
def test_new_objects_are_saved_whatever_is_there() -> None:
    """An object that was made, one that is stored elsewhere, one that has gone."""
    photo = Photo.objects.create(caption="c")
    twin = Photo(pk=photo.pk, caption="c")
    twin.save(force_update=True)
    assert twin.version == 2

    models.QuerySet(Photo).filter(pk=photo.pk).delete()
    photo.save()
    assert photo.version == stored(photo).version == 1


@pytest.mark.django_db
def test_the_models_of_a_migration_write_rows_too() -> None:
    """Without `HandleRefModel` and its managers: times and version are the fields' own work."""
    historical: Any = MigrationLoader(connection).project_state().apps.get_model("newsroom", "Publisher")
    one = historical._default_manager.create(name="a")
    one.save()

    row = Publisher.objects.get()

    assert (row.pk, row.version) == (one.pk, 2) and row.created < row.updated
    row.save()
    assert row.version == 3
