"""Many rows at once: bulk changes are counted like single ones; and what is asked of rows by their times."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import IntegrityError, NotSupportedError, connection, models, transaction
from django.db.models import Count, F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from newsroom.models import Desk, Issue, Magazine, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.references import HandleRefManager, HandleRefQuerySet

pytestmark = pytest.mark.django_db

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def publishers(count: int = 3, **values: Any) -> list[Publisher]:
    start = models.QuerySet(Publisher).count()
    return [Publisher.objects.create(name=f"{start + number}", **values) for number in range(count)]


def supplement(**values: Any) -> Supplement:
    magazine = Magazine.objects.create(title="M", publisher=publishers(1)[0])
    return Supplement.objects.create(magazine=magazine, theme="t", **values)


def stored(one: models.Model) -> Any:
    return models.QuerySet(one.__class__).get(pk=one.pk)


def account(one: Any) -> tuple[Any, ...]:
    return one.created, one.updated, one.version, one.change_stamp


def versions(*rows: Any) -> list[int]:
    return [stored(one).version for one in rows]


# -- update()


def test_hr_50_a_bulk_update_raises_updated_and_version() -> None:
    """Of the rows that it changes, all at one time; `created` stays."""
    first, second, other = publishers()
    before = datetime.now(UTC)

    assert Publisher.objects.filter(pk__in=[first.pk, second.pk]).update(note="n") == 2

    assert versions(first, second, other) == [2, 2, 1]
    assert stored(first).updated == stored(second).updated >= before
    assert stored(first).created == first.created and account(stored(other)) == account(other)
    assert stored(first).change_stamp == stored(second).change_stamp


@pytest.mark.parametrize("many", [Publisher.objects, Publisher.handleref, Publisher._default_manager])
def test_an_update_by_any_manager_counts(many: HandleRefManager) -> None:
    """And by querysets made from them, in code that waits or does not."""
    (one,) = publishers(1)

    many.update(note="a")
    many.undeleted().exclude(name="x").update(note="b")
    many.since(deleted=True).update(note="c")

    assert versions(one) == [4]


@pytest.mark.django_db(transaction=True)
def test_the_asynchronous_forms_count_too() -> None:
    """aupdate, abulk_create, abulk_update."""
    (one,) = publishers(1)

    async def change() -> list[Publisher]:
        await Publisher.objects.aupdate(note="n")
        await Publisher.objects.abulk_update([one], ["note"])
        return await Publisher.objects.abulk_create([Publisher(name="made")])

    (made,) = async_to_sync(change)()

    assert one.version == 3 and account(stored(one)) == account(one)
    assert made.created == made.updated and made.version == 1


def test_an_update_through_a_relation_counts() -> None:
    """What the related manager writes: update, remove, set, create."""
    (one,) = publishers(1)
    magazine = one.magazines.create(title="a")
    desk = Desk.objects.create(name="d")
    story = Story.objects.create(title="s", desk=desk)

    assert one.magazines.update(title="b") == 1
    assert one.magazines.all().update(title="c") == 1
    assert versions(magazine, one) == [3, 1]

    desk.stories.remove(story)
    assert stored(story).version == 2 and stored(story).desk is None
    desk.stories.add(story, bulk=False)
    desk.stories.clear()
    assert stored(story).version == 4


def test_what_is_given_to_an_update_is_kept() -> None:
    """`updated`, and `version`, where somebody says them."""
    (one,) = publishers(1)

    Publisher.objects.update(updated=LONG_AGO)
    assert (stored(one).updated, stored(one).version) == (LONG_AGO, 2)

    Publisher.objects.update(version=40, updated=F("created"))
    assert (stored(one).updated, stored(one).version) == (one.created, 40)


def test_an_update_of_nothing_changes_nothing() -> None:
    """Without arguments, or of an empty queryset."""
    (one,) = publishers(1)

    assert Publisher.objects.update() == Publisher.objects.none().update(note="n") == 0
    assert Publisher.objects.filter(name="x").update(note="n") == 0

    assert versions(one) == [1]


def test_an_update_of_annotated_and_ordered_rows_is_made_as_django_makes_it() -> None:
    """Expressions, annotations, conditions over relations, distinct."""
    first, second, _third = publishers()
    first.magazines.create(title="m")

    rows = Publisher.objects.annotate(magazine_count=Count("magazines"), twice=Concat("name", "name"))
    assert rows.filter(magazine_count=1).order_by("name").update(note=Value("one")) == 1
    assert rows.filter(magazine_count=0).distinct().update(note=Value("none")) == 2
    assert Publisher.objects.annotate(twice=Concat("name", "name")).update(note=F("twice")) == 3
    assert Publisher.objects.filter(magazines__title="m").update(note="m") == 1

    assert versions(first, second) == [4, 3] and stored(second).note == second.name * 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda: Publisher.objects.all()[:1].update(note="n"), TypeError),
        (lambda: Publisher.objects.update(nothing="n"), FieldDoesNotExist),
        (lambda: Publisher.objects.filter(name="x").union(Publisher.objects.all()).update(note="n"), NotSupportedError),
        (lambda: Publisher.objects.update(note=F("magazines__title")), FieldError),
        (lambda: Publisher.objects.update(note=None), IntegrityError),
    ],
)
def test_an_update_that_django_refuses_is_refused(change: Any, error: type[Exception]) -> None:
    """With its own error, and nothing is counted."""
    (one,) = publishers(1)

    with pytest.raises(error), transaction.atomic():
        change()

    assert account(stored(one)) == account(one)


def test_an_update_of_two_tables_counts_in_the_upper_one() -> None:
    """Fields of the lower table, of the upper one, of both."""
    one, other = supplement(), supplement()

    Supplement.objects.filter(pk=one.pk).update(theme="a")
    Supplement.objects.filter(pk=one.pk).update(number=5)
    Supplement.objects.filter(pk=one.pk).update(theme="b", number=F("number") + 1)
    SpecialIssue.objects.filter(pk=one.pk).update(number=F("number") + 1)

    assert versions(one, other) == [5, 1]
    assert (stored(one).theme, stored(one).number) == ("b", 7)
    assert stored(one).updated > one.updated and stored(one).created == one.created


def test_a_condition_on_the_version_is_a_lock_without_waiting() -> None:
    """Of two who have read one version, one writes."""
    (one,) = publishers(1)

    assert Publisher.objects.filter(pk=one.pk, version=1).update(note="first") == 1
    assert Publisher.objects.filter(pk=one.pk, version=1).update(note="second") == 0
    assert stored(one).note == "first"


def test_an_update_is_one_statement() -> None:
    """Two on SQLite, in a transaction."""
    publishers()

    with CaptureQueriesContext(connection) as queries:
        Publisher.objects.update(note="n")

    assert len(queries) == (1 if connection.vendor == "postgresql" else 2)


# -- bulk_create()


def test_what_is_created_in_bulk_is_born_at_one_time() -> None:
    """Version 1 each, one stamp; over all batches, whatever the objects said of themselves."""
    made = Publisher.objects.bulk_create(
        [Publisher(name=f"{number}", version=9, created=LONG_AGO) for number in range(7)], batch_size=3
    )

    (accounts,) = {account(one) for one in made}
    assert accounts[0] == accounts[1] > LONG_AGO and accounts[2] == 1
    assert [account(stored(one)) for one in made] == [accounts] * 7


def test_more_rows_than_a_statement_holds_are_created_in_bulk() -> None:
    """With keys that the caller has, and with those that the database gives."""
    Photo.objects.bulk_create([Photo() for _ in range(2000)])
    made = Publisher.objects.bulk_create([Publisher(name=f"{number}") for number in range(2000)])

    assert Photo.objects.filter(version=1, created=F("updated")).count() == 2000
    assert Publisher.objects.filter(version=1, created=F("updated")).count() == 2000
    assert len({one.change_stamp for one in made}) == 1 and made[0].change_stamp > 0


def test_bulk_creation_keeps_the_times_of_a_mirror_where_it_is_told_to() -> None:
    """Times that are not known are the time of the creation."""
    one, other = Publisher.objects.bulk_create(
        [Publisher(name="a", created=LONG_AGO, updated=LONG_AGO + MICROSECOND), Publisher(name="b")], keep_times=True
    )

    assert account(stored(one))[:3] == (LONG_AGO, LONG_AGO + MICROSECOND, 1)
    assert stored(other).created == stored(other).updated > LONG_AGO


def test_bulk_creation_passes_over_what_is_there() -> None:
    """With ``ignore_conflicts``; ``update_conflicts`` could not count, and is refused."""
    (one,) = publishers(1)

    Publisher.objects.bulk_create([Publisher(name=one.name), Publisher(name="new")], ignore_conflicts=True)
    assert versions(one) == [1] and Publisher.objects.get(name="new").version == 1

    arguments: list[Any] = [[Publisher(name=one.name, note="n")], None, False, True, ["note"], ["name"]]
    for refused in (
        lambda: Publisher.objects.bulk_create(*arguments),
        lambda: Publisher.objects.bulk_create(arguments[0], update_conflicts=True, update_fields=["note"]),
    ):
        with pytest.raises(NotSupportedError, match="can't count versions"):
            refused()
    assert stored(one).note == ""


def test_nothing_is_created_from_nothing() -> None:
    """And two tables at once not at all, as with any model."""
    assert Publisher.objects.bulk_create([]) == []
    with pytest.raises(ValueError, match="multi-table"), transaction.atomic():
        Supplement.objects.bulk_create([Supplement()])


# -- bulk_update()


def test_hr_50_objects_that_are_updated_in_bulk_show_it() -> None:
    """Each has its value, one time and one more version, as they are stored."""
    objects = publishers(5)
    objects[0].save()
    born = [one.created for one in objects]
    for number, one in enumerate(objects):
        one.note, one.name = f"note {number}", "not named, not written"

    assert Publisher.objects.bulk_update(objects, ["note"], batch_size=2) == 5

    assert [one.version for one in objects] == [3, 2, 2, 2, 2]
    assert len({one.updated for one in objects}) == 1
    assert [account(one) for one in objects] == [account(stored(one)) for one in objects]
    assert [stored(one).note for one in objects] == [f"note {number}" for number in range(5)]
    assert [stored(one).name for one in objects] == [f"{number}" for number in range(5)]
    assert [one.created for one in objects] == born


def test_a_time_that_a_bulk_update_names_is_kept() -> None:
    """Each object's own; the version counts."""
    first, second, _third = publishers()
    first.updated, second.updated = LONG_AGO, LONG_AGO + MICROSECOND

    Publisher.objects.bulk_update([first, second], ["updated"])

    assert [stored(one).updated for one in (first, second)] == [LONG_AGO, LONG_AGO + MICROSECOND]
    assert versions(first, second) == [2, 2] and (first.version, first.updated) == (2, LONG_AGO)


def test_a_bulk_update_writes_expressions_and_parts_of_objects() -> None:
    """What was not loaded stays so, but for the account."""
    story = Story.objects.create(title="t", words=1)
    story.words = F("words") + 1
    part = Story.objects.only("title").get(pk=story.pk)

    Story.objects.bulk_update([story], ["words"])
    assert stored(story).words == 2 and story.version == 2

    part.title = "u"
    Story.objects.bulk_update([part], ["title"])
    assert part.version == 3 and "words" not in part.__dict__ and stored(part).title == "u"


def test_a_bulk_update_costs_one_query_more_for_each_batch_at_most() -> None:
    """And, on SQLite, the counter's."""
    objects = publishers(6)
    counter = 0 if connection.vendor == "postgresql" else 1
    for batch_size, batches in ((None, 1), (3, 2), (2, 3)):
        with CaptureQueriesContext(connection) as queries:
            Publisher.objects.bulk_update(objects, ["note"], batch_size=batch_size)
        assert len(queries) <= (2 + counter) * batches


def test_a_bulk_update_of_more_rows_than_a_statement_holds() -> None:
    """They are read back in parts as well."""
    objects = Photo.objects.bulk_create([Photo() for _ in range(1500)])
    for one in objects:
        one.caption = "c"

    assert Photo.objects.bulk_update(objects, ["caption"], batch_size=500) == 1500

    assert {one.version for one in objects} == {2} and len({one.updated for one in objects}) == 1
    assert Photo.objects.filter(version=2, caption="c").count() == 1500


def test_a_bulk_update_of_a_filtered_queryset_changes_what_it_holds() -> None:
    """An object outside of it, one that has gone, and one given twice show what is stored."""
    inside, outside, gone = publishers()
    models.QuerySet(Publisher).filter(pk=gone.pk).delete()
    inside.note = outside.note = gone.note = "n"
    twin = stored(inside)
    twin.note = "n"

    assert Publisher.objects.exclude(pk=outside.pk).bulk_update([inside, twin, outside, gone], ["note"]) == 1

    assert (inside.version, twin.version, outside.version, gone.version) == (2, 2, 1, 1)
    assert versions(inside, outside) == [2, 1]


def test_a_bulk_update_of_two_tables_counts_in_the_upper_one() -> None:
    """Fields of either."""
    one, other = supplement(), supplement()
    one.theme, one.number = "x", 7

    Supplement.objects.bulk_update([one, other], ["theme", "number"])
    assert (stored(one).theme, stored(one).number) == ("x", 7)
    assert versions(one, other) == [2, 2] and account(one) == account(stored(one))

    Issue.objects.bulk_update([one.issue_ptr], ["number"])
    assert versions(one, other) == [3, 2]


def test_keys_that_are_given_as_texts_are_updated_in_bulk() -> None:
    """And show it."""
    photo = Photo.objects.create()
    photo.pk = str(photo.pk)

    Photo.objects.bulk_update([photo], ["caption"])

    assert photo.version == 2


@pytest.mark.parametrize(
    ("fields", "error"),
    [([], ValueError), (["magazines"], ValueError), (["id"], ValueError), (["x"], FieldDoesNotExist)],
)
def test_a_bulk_update_that_django_refuses_is_refused(fields: list[str], error: type[Exception]) -> None:
    """With its own error."""
    objects = publishers()

    with pytest.raises(error), transaction.atomic():
        Publisher.objects.bulk_update(objects, fields)
    with pytest.raises(ValueError, match="primary key"), transaction.atomic():
        Publisher.objects.bulk_update([Publisher()], ["note"])
    with pytest.raises(ValueError, match="positive"), transaction.atomic():
        Publisher.objects.bulk_update(objects, ["note"], batch_size=-1)
    assert Publisher.objects.bulk_update(iter([]), ["note"]) == 0
    assert versions(*objects) == [1, 1, 1]


def test_a_bulk_update_that_fails_leaves_objects_and_rows_as_they_were() -> None:
    """All batches or none."""
    objects = publishers()
    before = [account(one) for one in objects]
    objects[2].name = objects[0].name

    with pytest.raises(IntegrityError), transaction.atomic():
        Publisher.objects.bulk_update(objects, ["name"], batch_size=1)

    assert [account(one) for one in objects] == before == [account(stored(one)) for one in objects]


def test_what_django_writes_by_itself_is_counted() -> None:
    """A related manager's `add` and `set`, and the SET_NULL of a hard deletion: no poll may miss them."""
    old, new = publishers(2)
    magazine = Magazine.objects.create(title="m", publisher=old)
    story = Story.objects.create(title="s", desk=Desk.objects.create(name="d"))
    _rows, cursor = Magazine.handleref.since(cursor="")

    new.magazines.add(magazine)
    Desk.objects.get().delete(hard=True)

    magazine, story = (type(one).objects.get(pk=one.pk) for one in (magazine, story))
    assert (magazine.publisher, magazine.version) == (new, 2)
    assert (story.desk, story.version) == (None, 2)
    assert magazine in Magazine.handleref.since(cursor=cursor).rows
    assert story in Story.handleref.since(cursor=cursor).rows


def test_what_goes_past_these_querysets_is_not_counted() -> None:
    """As the documentation says: plain querysets and SQL."""
    (one,) = publishers(1)

    models.QuerySet(Publisher).update(note="b")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE newsroom_publisher SET note = 'c'")

    assert account(stored(one)) == account(one) and stored(one).note == "c"


WAYS = ("save", "update", "bulk_update", "update_fields", "fixture", "skip")


@settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 1)), max_size=12))
def test_any_order_of_changes_counts_each_of_them(changes: list[tuple[str, int]]) -> None:
    """By two objects of one row, stale or not: the version is one more than the changes, and `updated` never falls."""
    with transaction.atomic():
        (one,) = publishers(1)
        both, expected, latest = (one, stored(one)), 1, one.updated
        for way, which in changes:
            live = both[which]
            if way == "save":
                live.save()
            elif way == "update":
                Publisher.objects.filter(pk=live.pk).update(note=way)
            elif way == "bulk_update":
                Publisher.objects.bulk_update([live], ["note"])
            elif way == "update_fields":
                live.save(update_fields=["note"])
            elif way == "fixture":  # which changes nothing but the stamp here
                stored(live).save_base(raw=True)
            else:
                stored(live).save(skip_unchanged=True)
            expected += way not in ("fixture", "skip")
            row = stored(one)
            assert row.version == expected and row.updated >= latest and row.created == one.created
            assert way not in ("save", "bulk_update", "update_fields") or account(live) == account(row)
            latest = row.updated
        transaction.set_rollback(True)


# -- since(), undeleted(), last_change()


@pytest.fixture
def three() -> list[Publisher]:
    """Updated a second after one another, the last one deleted; created together an hour before."""
    rows = publishers()
    for number, one in enumerate(rows):
        one.created, one.updated = LONG_AGO - timedelta(hours=1), LONG_AGO + timedelta(seconds=number)
        one.status = "deleted" if number == 2 else ""
    Publisher.objects.bulk_update(rows, ["created", "updated", "status"])
    return rows


def names(rows: Any) -> list[str]:
    return sorted(one.name for one in rows)


def test_hr_40_the_time_of_since_is_excluded(three: list[Publisher]) -> None:
    """A microsecond before, the row is there."""
    at = three[1].updated

    assert names(Publisher.handleref.since(timestamp=at)) == []
    assert names(Publisher.handleref.since(timestamp=at - MICROSECOND)) == ["1"]
    assert names(Publisher.handleref.since(timestamp=at - MICROSECOND, deleted=True)) == ["1", "2"]
    assert names(Publisher.handleref.since(timestamp=at, deleted=True)) == ["2"]


def test_hr_03_since_looks_at_both_times() -> None:
    """Created after it or updated after it: a mirror's rows may be created late."""
    late, old = publishers(2)
    Publisher.objects.filter(pk=late.pk).update(created=LONG_AGO + MICROSECOND, updated=LONG_AGO)
    Publisher.objects.filter(pk=old.pk).update(created=LONG_AGO, updated=LONG_AGO)

    assert names(Publisher.handleref.since(timestamp=LONG_AGO)) == [late.name]


def test_hr_04_since_a_version_gives_later_ones(three: list[Publisher]) -> None:
    """With a time as well, both hold."""
    three[0].status = ""
    three[0].save(keep_times=True)

    assert names(Publisher.handleref.since(version=2)) == ["0"]
    assert names(Publisher.handleref.since(version=3)) == []
    assert names(Publisher.handleref.since(version=1, deleted=True)) == ["0", "1", "2"]
    assert names(Publisher.handleref.since(version=2, timestamp=three[0].updated)) == []
    assert names(Publisher.handleref.since(version=2, timestamp=three[0].updated - MICROSECOND)) == ["0"]
    with pytest.raises(ValueError, match="version"):
        Publisher.handleref.since(version="two")


def test_hr_05_since_nothing_gives_all_that_are_not_deleted(three: list[Publisher]) -> None:
    """Or all."""
    assert names(Publisher.handleref.since()) == ["0", "1"]
    assert names(Publisher.handleref.since(deleted=True)) == ["0", "1", "2"]


def test_undeleted_rows_are_those_of_any_other_status(three: list[Publisher]) -> None:
    """The blank one, and one that only begins alike; managers show all."""
    Publisher.objects.filter(pk=three[0].pk).update(status="Deleted")

    assert names(Publisher.handleref.undeleted()) == ["0", "1"]
    assert names(Publisher.objects.all()) == names(Publisher.handleref.all()) == ["0", "1", "2"]


def test_questions_are_chained_and_lazy(three: list[Publisher]) -> None:
    """On querysets, related managers too; positional on querysets, by keyword on managers."""
    magazine = three[0].magazines.create(title="m")
    with CaptureQueriesContext(connection) as queries:
        rows = Publisher.objects.filter(name__gte="1").since(LONG_AGO, 1).since(deleted=True)
        assert isinstance(rows, HandleRefQuerySet)
    assert len(queries) == 0 and names(rows) == ["1"]

    assert list(three[0].magazines.since(timestamp=LONG_AGO)) == [magazine]
    assert three[0].magazines.last_change() == magazine.updated
    assert three[0].magazines.tag == "magazine"
    positional: Any = Publisher.handleref.since
    with pytest.raises(TypeError):
        positional(LONG_AGO)


def test_the_last_change_is_the_latest_of_both_times(three: list[Publisher]) -> None:
    """Of deleted rows as well; None of no rows. One query, whatever the order or the slice."""
    assert Publisher.handleref.last_change() == three[2].updated
    assert Publisher.handleref.undeleted().last_change() == three[1].updated
    assert Publisher.objects.order_by("updated")[:1].last_change() == three[0].updated
    assert Publisher.objects.none().last_change() is Issue.handleref.last_change() is None

    late = LONG_AGO + timedelta(days=1)
    Publisher.objects.filter(pk=three[0].pk).update(created=late, updated=LONG_AGO)
    with CaptureQueriesContext(connection) as queries:
        assert Publisher.handleref.last_change() == late
    assert len(queries) == 1


SECOND = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "equal"),
    [
        (SECOND.timestamp(), SECOND),
        (int(SECOND.timestamp()), SECOND),
        (Decimal(int(SECOND.timestamp())), SECOND),
        (Fraction(int(SECOND.timestamp()) * 2, 2), SECOND),
        (True, datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)),
        (False, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (SECOND.astimezone(timezone(timedelta(hours=-7))), SECOND),
        (datetime(2001, 2, 3, 5, 5, 6), SECOND),  # in the site's time zone
        (date(2001, 2, 3), datetime(2001, 2, 2, 23, tzinfo=UTC)),
        ("2001-02-03", datetime(2001, 2, 2, 23, tzinfo=UTC)),
        ("2001-2-3", datetime(2001, 2, 2, 23, tzinfo=UTC)),
        ("2001-02-03T05:05:06", SECOND),
        ("2001-02-03 05:05", datetime(2001, 2, 3, 4, 5, tzinfo=UTC)),
        ("2001-02-03T04:05:06Z", SECOND),
        ("2001-02-03T06:05:06+02:00", SECOND),
        ("2001-02-03T04:05:06.000789Z", LONG_AGO),
    ],
    ids=repr,
)
def test_times_are_taken_in_any_form(at: Any, equal: datetime) -> None:
    """Numbers are unix times in seconds; what has no time zone is in the current one (Berlin here)."""
    after, exactly = publishers(2)
    Publisher.objects.filter(pk=after.pk).update(created=equal, updated=equal + MICROSECOND)
    Publisher.objects.filter(pk=exactly.pk).update(created=equal, updated=equal)

    assert names(Publisher.handleref.since(timestamp=at)) == [after.name]


@pytest.mark.parametrize("at", [datetime(1, 1, 2), datetime(9999, 12, 30), "0001-01-02"])
def test_the_calendar_s_ends_are_times_too(at: Any) -> None:
    """Before all rows, or after them."""
    publishers(1)

    assert Publisher.handleref.since(timestamp=at).count() == (0 if at == datetime(9999, 12, 30) else 1)


@pytest.mark.parametrize(
    "at",
    ["", "yesterday", "2001-13-01", "2001-02-30", "2001-02-03 25:00", "12", "1700000000", "2001-02-03\0", "x" * 9999,
     float("nan"), float("inf"), 10**30, -(10**30), Decimal("NaN"), 1e15, datetime.min, date.min,
     datetime.max.replace(tzinfo=timezone(timedelta(hours=-7)))],
    ids=lambda at: repr(at)[:20],
)  # fmt: skip
def test_what_is_no_time_is_refused(at: Any) -> None:
    """With a short ValueError that says so."""
    with pytest.raises(ValueError, match=r"is no time|is no unix time|outside the calendar") as refused:
        Publisher.handleref.since(timestamp=at)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("at", [b"2001-02-03", [], object(), 1j, timedelta(1)])
def test_what_can_be_no_time_is_a_type_error(at: Any) -> None:
    """Neither a time, nor a text, nor a number."""
    with pytest.raises(TypeError, match="A time is a datetime, a date"):
        Publisher.handleref.since(timestamp=at)


def test_since_takes_times_where_use_tz_is_off(settings: Any) -> None:
    """Naive ones are the site's; a time zone and a unix time still mean what they say."""
    settings.USE_TZ = False
    (one,) = publishers(1)
    assert one.created.tzinfo is None and one.created == one.updated and stored(one).updated == one.updated
    Publisher.objects.update(created=datetime(2001, 2, 3, 5), updated=datetime(2001, 2, 3, 5, 5, 6))

    for at in (
        "2001-02-03T05:05:06",
        "2001-02-03T04:05:06Z",
        SECOND,
        SECOND.timestamp(),
        datetime(2001, 2, 3, 5, 5, 6),
    ):
        assert not Publisher.handleref.since(timestamp=at).exists()
    for at in (
        "2001-02-03T05:05:05",
        "2001-02-03T04:05:05Z",
        SECOND - MICROSECOND,
        SECOND.timestamp() - 1,
        "2001-02-03",
    ):
        assert Publisher.handleref.since(timestamp=at).exists()
    assert Publisher.handleref.last_change() == datetime(2001, 2, 3, 5, 5, 6)
