"""Soft deletion: rows stay, marked as deleted, and with them what hangs below; one batch, one time, one transaction."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.admin import ModelAdmin, site
from django.db import connection, models, transaction
from django.db.models import Count
from django.dispatch import Signal
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.softdeletion import DELETED, soft_deleted, undeleted

pytestmark = pytest.mark.django_db

ACCOUNT = ("status", "former_status", "change_batch", "updated", "created", "version", "change_stamp")


@pytest.fixture
def press() -> Publisher:
    """A publisher with two magazines: one with two issues, one with none."""
    publisher = Publisher.objects.create(name="Press", status="ok")
    weekly = Magazine.objects.create(title="Weekly", publisher=publisher, status="ok")
    Magazine.objects.create(title="Daily", publisher=publisher, status="pending")
    Issue.objects.create(number=1, magazine=weekly)
    Issue.objects.create(number=2, magazine=weekly, status="pending")
    return publisher


def weekly() -> Magazine:
    return Magazine.objects.get(title="Weekly")


def account_of(one: models.Model) -> dict[str, Any]:
    """What is stored of it."""
    return one.__class__._base_manager.filter(pk=one.pk).values(*ACCOUNT).get()


def everything() -> list[dict[str, Any]]:
    return [row for model in (Publisher, Magazine, Issue, Desk, Story) for row in model.objects.order_by("pk").values()]


def statuses(model: type[models.Model]) -> list[str]:
    return list(model._default_manager.order_by("pk").values_list("status", flat=True))


@contextmanager
def listening(
    signal: Signal, receiver: Callable[..., None], sender: type[models.Model] | None = None
) -> Iterator[None]:
    signal.connect(receiver, sender=sender)
    try:
        yield
    finally:
        signal.disconnect(receiver, sender=sender)


# -- One object


def test_hr_07_a_deleted_object_stays_and_is_marked(press: Publisher) -> None:
    """The row is there, for both managers, and counts as deleted; the call returns None."""
    before = account_of(press)

    assert press.delete() is None  # type: ignore[func-returns-value]  # the promise is just that

    after = account_of(press)
    assert after["status"] == DELETED and after["former_status"] == "ok"
    assert after["updated"] > before["updated"] and after["created"] == before["created"]
    assert after["version"] == before["version"] + 1 and after["change_stamp"] >= before["change_stamp"]
    assert press in Publisher.objects.all() and press in Publisher.handleref.all()
    assert press not in Publisher.handleref.undeleted()


def test_what_delete_cascade_names_goes_with_it_and_what_is_below_that(press: Publisher) -> None:
    """Each with the status that it had kept beside it; all of one batch and one time, each a version later."""
    press.delete()

    rows = [row for model in (Publisher, Magazine, Issue) for row in model.objects.order_by("pk").values(*ACCOUNT)]
    assert [row["status"] for row in rows] == [DELETED] * 5
    assert [row["former_status"] for row in rows] == ["ok", "ok", "pending", "", "pending"]
    assert [row["version"] for row in rows] == [2] * 5
    assert len({(row["updated"], row["change_batch"], row["change_stamp"]) for row in rows}) == 1


def test_what_is_not_named_stays() -> None:
    """A story is no part of its desk."""
    desk = Desk.objects.create(name="Sport")
    story = Story.objects.create(title="Goal", desk=desk)

    desk.delete()

    story.refresh_from_db()
    assert (story.status, story.version, story.desk_id) == ("", 1, desk.pk)


def test_the_live_object_shows_what_is_stored(press: Publisher) -> None:
    """Without being read again, also one that was changed by others since it was loaded."""
    stale = Publisher.objects.get(pk=press.pk)
    Publisher.objects.update(status="pending")

    stale.delete()

    assert {name: getattr(stale, name) for name in ACCOUNT} == account_of(press)
    assert stale.is_deleted and stale.former_status == "pending" and isinstance(stale.change_batch, uuid.UUID)


def test_an_object_of_which_only_the_key_was_loaded_is_deleted(press: Publisher) -> None:
    """And nothing of it is written but what deletion writes."""
    Publisher.objects.only("pk").get().delete()

    assert account_of(press)["former_status"] == "ok"


def test_unsaved_changes_of_the_object_are_not_written(press: Publisher) -> None:
    """Deletion is no save."""
    press.name = "Other"
    press.delete()

    assert Publisher.objects.get().name == "Press"


def test_hr_42_a_second_deletion_changes_nothing(press: Publisher) -> None:
    """Neither times nor versions nor batches, of the object or of what is below; the object still shows its state."""
    stale = Publisher.objects.get()
    press.delete()
    before = everything()

    press.delete()
    stale.delete()

    assert everything() == before
    assert {name: getattr(stale, name) for name in ACCOUNT} == account_of(press)


def test_children_that_were_deleted_before_are_left_as_they_were(press: Publisher) -> None:
    """Their updated, batch and former status, and what is below them, stay."""
    weekly().delete()
    gone = [*Magazine.objects.filter(title="Weekly").values(), *Issue.objects.values()]

    press.delete()

    assert [*Magazine.objects.filter(title="Weekly").values(), *Issue.objects.values()] == gone
    assert statuses(Magazine) == [DELETED, DELETED]


def test_what_is_live_below_an_object_deleted_before_goes_in_a_batch_of_its_own(press: Publisher) -> None:
    """A deletion of an object is also asked for what came below it afterwards."""
    press.delete()
    monthly = Magazine.objects.create(title="Monthly", publisher=press)
    Issue.objects.create(number=3, magazine=monthly)
    before = account_of(press)

    press.delete()

    assert account_of(press) == before
    batches = {account_of(row)["change_batch"] for row in (monthly, monthly.issues.get())}
    assert len(batches) == 1 and batches != {before["change_batch"]}
    assert statuses(Issue) == [DELETED] * 3


def test_a_live_child_may_be_made_below_a_deleted_object(press: Publisher) -> None:
    """Nothing forbids it, as it never did."""
    press.delete()

    assert Magazine.objects.create(title="Monthly", publisher=press).status == ""


def test_trees_of_any_depth_and_circles_come_to_an_end() -> None:
    """Each desk goes once."""
    desks = [Desk.objects.create(name="0")]
    for n in range(1, 6):
        desks.append(Desk.objects.create(name=str(n), above=desks[-1]))
    Desk.objects.filter(pk=desks[0].pk).update(above=desks[-1])

    desks[2].delete()

    assert statuses(Desk) == [DELETED] * 6
    assert len(set(Desk.objects.values_list("change_batch", flat=True))) == 1
    assert set(Desk.objects.exclude(name="0").values_list("version", flat=True)) == {2}


def test_a_model_with_a_table_of_its_own_beside_that_of_its_parent_goes(press: Publisher) -> None:
    """As itself, and as the issue that it is."""
    supplement = Supplement.objects.create(magazine=weekly(), theme="Wine", status="ok")
    other = Supplement.objects.create(magazine=weekly(), theme="Beer")

    supplement.delete()

    assert (supplement.status, supplement.former_status, supplement.version) == (DELETED, "ok", 2)
    assert Issue.objects.get(pk=supplement.pk).change_batch == supplement.change_batch
    assert Supplement.objects.all().delete() == (1, {"newsroom.Supplement": 1})
    assert statuses(Issue) == ["", "pending", DELETED, DELETED]
    assert account_of(other)["change_batch"] != supplement.change_batch


def test_a_proxy_is_deleted_as_itself(press: Publisher) -> None:
    """And counted under its own name."""
    SpecialIssue.objects.get(number=1).delete()

    assert SpecialIssue.objects.all().delete() == (1, {"newsroom.SpecialIssue": 1})
    assert statuses(Issue) == [DELETED, DELETED]


@pytest.mark.parametrize("one", [Photo(caption="Sea"), Masthead(slug="the/front page")], ids=["uuid", "str"])
def test_any_key_will_do(one: Photo | Masthead) -> None:
    """Whole numbers, UUIDs, texts."""
    one.save(force_insert=True)

    one.delete()

    assert account_of(one)["status"] == DELETED and one.version == 2


def test_an_object_that_was_never_saved_is_refused() -> None:
    """With the error that Django raises."""
    with pytest.raises(ValueError, match="Publisher object can't be deleted because"):
        Publisher(name="New").delete()


def test_an_object_whose_row_is_gone_is_no_error(press: Publisher) -> None:
    """As Django has it."""
    lost = Story.objects.create(title="Lost")
    Story.objects.all().delete(hard=True)

    assert lost.delete() is None  # type: ignore[func-returns-value]  # the promise is just that


# -- For good


def test_hr_08_a_hard_deletion_is_django_s(press: Publisher) -> None:
    """What it returns, and what goes: by the foreign keys' own rules, delete_cascade has no part in it."""
    desk = Desk.objects.create(name="Sport")
    Story.objects.create(title="Goal", desk=desk)

    assert press.delete(hard=True) == (5, {"newsroom.Issue": 2, "newsroom.Magazine": 2, "newsroom.Publisher": 1})
    assert desk.delete(hard=True) == (1, {"newsroom.Desk": 1})
    assert Story.objects.get().desk is None
    assert not Issue.objects.exists()


def test_what_is_deleted_softly_can_be_deleted_for_good(press: Publisher) -> None:
    """With what is below it."""
    press.delete()

    press.delete(hard=True)

    assert everything() == []


# -- Many


MANY: dict[str, Callable[[Publisher], Any]] = {
    "objects": lambda press: Magazine.objects.all(),
    "handleref": lambda press: Magazine.handleref.all(),
    "default": lambda press: Magazine._default_manager.all(),
    "related": lambda press: press.magazines.all(),
    "filtered": lambda press: Magazine.objects.filter(status__in=["ok", "pending"]),
    "joined": lambda press: Magazine.objects.filter(publisher__name="Press"),
    "joined to many": lambda press: Magazine.objects.filter(publisher__magazines__title="Daily").distinct(),
    "annotated": lambda press: Magazine.objects.annotate(n=Count("issues")).filter(n__gte=0),
    "ordered": lambda press: Magazine.objects.order_by("publisher__name", "title"),
    "selecting": lambda press: Magazine.objects.select_related("publisher").defer("title"),
    "locking": lambda press: Magazine.objects.select_for_update(),
    "either": lambda press: Magazine.objects.filter(title="Daily") | Magazine.objects.filter(title="Weekly"),
    "extra": lambda press: Magazine.objects.extra(select={"one": "1"}),
}


@pytest.mark.parametrize("chosen", MANY.values(), ids=MANY)
def test_hr_43_bulk_deletion_is_soft(press: Publisher, chosen: Callable[[Publisher], Any]) -> None:
    """From every manager, and of every queryset that Django deletes; what is below goes, too."""
    assert chosen(press).delete() == (4, {"newsroom.Magazine": 2, "newsroom.Issue": 2})

    assert (statuses(Publisher), statuses(Magazine), statuses(Issue)) == (["ok"], [DELETED] * 2, [DELETED] * 2)
    rows = [*Magazine.objects.values(*ACCOUNT), *Issue.objects.values(*ACCOUNT)]
    assert len({(row["updated"], row["change_batch"], row["change_stamp"]) for row in rows}) == 1
    assert {row["version"] for row in rows} == {2}
    assert not Magazine.objects.filter(former_status="").exists()


@pytest.mark.parametrize("chosen", [one for name, one in MANY.items() if name != "locking"])
def test_hr_43_bulk_deletion_for_good_is_to_be_asked_for(press: Publisher, chosen: Callable[[Publisher], Any]) -> None:
    """Then it is Django's, and returns what that returns."""
    assert chosen(press).delete(hard=True) == (4, {"newsroom.Issue": 2, "newsroom.Magazine": 2})

    assert statuses(Magazine) == []


def test_hr_43_deletion_in_the_admin_is_soft(press: Publisher) -> None:
    """Of one object, and of those that are ticked in a list."""
    request = RequestFactory().post("/")
    admin = ModelAdmin(Magazine, site)

    admin.delete_model(request, weekly())
    admin.delete_queryset(request, Magazine.objects.all())

    assert statuses(Magazine) == [DELETED] * 2 and Issue.objects.count() == 2


REFUSED: dict[str, Callable[[Any], Any]] = {
    "sliced": lambda rows: rows[:1],
    "distinct": lambda rows: rows.order_by("title").distinct("title"),
    "values": lambda rows: rows.values("title"),
    "values_list": lambda rows: rows.values_list("title"),
    "united": lambda rows: rows.union(rows),
    "intersected": lambda rows: rows.intersection(rows),
}


@pytest.mark.parametrize("shape", REFUSED.values(), ids=REFUSED)
def test_querysets_that_django_deletes_not_are_refused_as_django_does(
    press: Publisher, shape: Callable[[Any], Any]
) -> None:
    """With the same error; nothing is deleted."""
    with pytest.raises(Exception) as django:  # noqa: PT011 - whichever it is, it is compared
        shape(Article.objects.all()).delete()
    with pytest.raises(type(django.value)) as ours:
        shape(Magazine.objects.all()).delete()

    assert str(ours.value) == str(django.value)
    assert DELETED not in statuses(Magazine)


def test_managers_have_no_deletion_of_everything() -> None:
    """As Django's have none."""
    for name in ("delete", "adelete", "undelete"):
        assert not hasattr(Magazine.objects, name)


def test_a_queryset_counts_what_it_has_deleted_and_nothing_twice(press: Publisher) -> None:
    """Rows deleted before are not counted, nor is what is live below them touched; without rows it is nothing."""
    press.delete()
    monthly = Magazine.objects.create(title="Monthly", publisher=press)
    before = everything()

    assert Publisher.objects.all().delete() == (0, {})
    assert Issue.objects.none().delete() == (0, {})
    assert everything() == before
    assert Magazine.objects.all().delete() == (1, {"newsroom.Magazine": 1})
    assert account_of(monthly)["status"] == DELETED


def test_a_queryset_that_was_read_is_read_again(press: Publisher) -> None:
    """After the deletion it shows what is stored."""
    rows = Magazine.objects.order_by("pk")
    assert [row.status for row in rows] == ["ok", "pending"]

    rows.delete()

    assert [row.status for row in rows] == [DELETED] * 2


def test_a_tree_given_whole_goes_once() -> None:
    """Also where rows are named that would go with others of them."""
    top = Desk.objects.create(name="top")
    below = Desk.objects.create(name="below", above=top)
    Desk.objects.create(name="beside", above=below)

    assert Desk.objects.exclude(name="beside").delete() == (3, {"newsroom.Desk": 3})
    assert set(Desk.objects.values_list("version", flat=True)) == {2}


def test_asynchronous_code_deletes_alike() -> None:
    """Softly, and for good where it is asked for."""

    async def work() -> None:
        one, other = Masthead(slug="a"), Masthead(slug="b")
        await one.asave()
        await other.asave()
        assert await one.adelete() is None
        assert await Masthead.objects.all().adelete() == (1, {"newsroom.Masthead": 1})
        assert await one.adelete(hard=True) == (1, {"newsroom.Masthead": 1})
        assert await Masthead.objects.all().adelete(hard=True) == (1, {"newsroom.Masthead": 1})

    async_to_sync(work)()


# -- All or nothing


def test_deletion_is_undone_as_a_whole_where_a_receiver_fails(press: Publisher) -> None:
    """Also within a transaction, which can go on."""
    before = everything()

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("no")

    with listening(soft_deleted, fail, Issue), transaction.atomic():
        with pytest.raises(RuntimeError):
            press.delete()
        assert press.status == "ok"
        with pytest.raises(RuntimeError):
            Publisher.objects.all().delete()
        assert everything() == before
        assert weekly().pk


def test_a_deletion_that_is_rolled_back_has_not_been(press: Publisher) -> None:
    """The transaction around it has the last word."""
    before = everything()

    with transaction.atomic():
        press.delete()
        transaction.set_rollback(True)

    assert everything() == before


# -- Signals


def test_signals_tell_of_the_rows_of_each_model_once(press: Publisher) -> None:
    """With a queryset of them, the alias and the batch; before the commit."""
    heard: list[tuple[Any, list[str], str, uuid.UUID, bool]] = []

    def hear(sender: Any, rows: Any, using: str, batch: uuid.UUID, **kwargs: Any) -> None:
        inside = connection.in_atomic_block
        heard.append((sender, sorted(str(row) for row in rows), using, batch, inside))

    with listening(soft_deleted, hear):
        press.delete()
    with listening(undeleted, hear):
        press.undelete()

    assert [one[:3] for one in heard] == 2 * [
        (Publisher, ["Press"], "default"),
        (Magazine, ["Daily", "Weekly"], "default"),
        (Issue, ["1", "2"], "default"),
    ]
    assert all(one[4] for one in heard)
    assert len({one[3] for one in heard}) == 2 and heard[-1][3] == press.change_batch


def test_signals_of_a_tree_tell_of_all_its_rows_at_once() -> None:
    """Once for the model, whatever the number of levels."""
    top = Desk.objects.create(name="a")
    Desk.objects.create(name="c", above=Desk.objects.create(name="b", above=top))
    heard: list[list[str]] = []

    def hear(rows: Any, **kwargs: Any) -> None:
        heard.append(sorted(str(row) for row in rows))

    with listening(soft_deleted, hear):
        top.delete()

    assert heard == [["a", "b", "c"]]


def test_no_signal_tells_of_nothing(press: Publisher) -> None:
    """Where nothing was deleted, or restored."""
    heard: list[Any] = []

    def hear(sender: Any, **kwargs: Any) -> None:
        heard.append(sender)

    with listening(soft_deleted, hear), listening(undeleted, hear):
        press.undelete()
        Issue.objects.none().delete()
        Issue.objects.all().delete()
        Issue.objects.all().delete()
        weekly().delete()

    assert heard == [Issue, Magazine]


def test_signals_cost_a_query_only_where_the_rows_are_looked_at(press: Publisher) -> None:
    """The queryset is not evaluated before."""

    def hear(**kwargs: Any) -> None:
        pass

    with CaptureQueriesContext(connection) as quiet:
        Issue.objects.filter(number=1).delete()
    with listening(soft_deleted, hear), CaptureQueriesContext(connection) as heard:
        Issue.objects.filter(number=2).delete()

    assert len(quiet) == len(heard)


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [None, ["name"], ["name", "status"]])
def test_an_object_that_was_read_before_it_was_deleted_stays_deleted_when_it_is_saved(fields: list[str] | None) -> None:
    """A form that was open meanwhile is stored, and restores nothing; what went together still comes back together."""
    publisher = Publisher.objects.create(name="a")
    magazine = Magazine.objects.create(title="m", publisher=publisher)
    stale = Publisher.objects.get()
    publisher.delete()

    stale.name = "b"
    stale.save(update_fields=fields)

    assert stale.is_deleted and stale.version == 3
    stored = Publisher.objects.get()
    assert (stored.name, stored.status, stored.version) == ("b", "deleted", 3)
    stale.save()
    assert Publisher.objects.get().is_deleted
    stale.undelete()
    magazine.refresh_from_db()
    assert not Publisher.objects.get().is_deleted and not magazine.is_deleted


@pytest.mark.django_db
def test_a_status_that_is_changed_still_restores() -> None:
    """Whether the object was read as deleted, deleted itself, or made by hand."""
    publisher = Publisher.objects.create(name="a")
    publisher.delete()
    publisher.status = ""
    publisher.save()
    assert not Publisher.objects.get().is_deleted
    Publisher.objects.get().delete()
    read = Publisher.objects.get()
    read.status = ""
    read.save()
    assert not Publisher.objects.get().is_deleted
    Publisher.objects.get().delete()
    Publisher(pk=read.pk, name="a").save()
    assert not Publisher.objects.get().is_deleted


@pytest.mark.django_db
def test_a_key_that_no_column_holds_finds_nothing() -> None:
    """As with any model; it is no error of the database's."""
    Publisher(pk=2**70).delete()
    assert not Publisher.objects.exists()
