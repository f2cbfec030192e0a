"""Restoration: just what went together comes back, and nothing below what is deleted, on whatever path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, models, transaction
from django.db.models import Case, F, OneToOneField, Value, When
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import translation
from newsroom.models import Article, Desk, Issue, Magazine, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.references import HandleRefModel, UndeleteRefused
from footfall.storage.softdeletion import DELETED, undeleted

pytestmark = pytest.mark.django_db

ACCOUNT = ("status", "former_status", "change_batch", "updated", "created", "version", "change_stamp")


@pytest.fixture
def press() -> Publisher:
    """A publisher with two magazines, of which one has two issues; their statuses differ."""
    publisher = Publisher.objects.create(name="Press", status="ok")
    weekly = Magazine.objects.create(title="Weekly", publisher=publisher, status="ok")
    Magazine.objects.create(title="Daily", publisher=publisher, status="pending")
    Issue.objects.create(number=1, magazine=weekly)
    Issue.objects.create(number=2, magazine=weekly, status="pending")
    return publisher


def magazine(title: str = "Weekly") -> Magazine:
    return Magazine.objects.get(title=title)


def account_of(one: models.Model) -> dict[str, Any]:
    """What is stored of it."""
    return one.__class__._base_manager.filter(pk=one.pk).values(*ACCOUNT).get()


def everything() -> list[dict[str, Any]]:
    return [row for model in (Publisher, Magazine, Issue, Desk, Story) for row in model.objects.order_by("pk").values()]


def statuses() -> list[list[str]]:
    return [
        list(model.objects.order_by("pk").values_list("status", flat=True)) for model in (Publisher, Magazine, Issue)
    ]


LIVE = [["ok"], ["ok", "pending"], ["", "pending"]]
GONE = [[DELETED], [DELETED] * 2, [DELETED] * 2]


# -- What comes back


def test_hr_45_what_went_together_comes_back_each_with_its_status(press: Publisher) -> None:
    """At one time, as one batch, a version later; created stays."""
    born = [row["created"] for row in everything()]
    press.delete()
    batch, gone_at = press.change_batch, press.updated
    assert statuses() == GONE

    assert press.undelete() is None  # type: ignore[func-returns-value]  # the promise is just that

    assert statuses() == LIVE
    rows = everything()
    assert len({(row["updated"], row["change_batch"], row["change_stamp"]) for row in rows}) == 1
    assert {row["version"] for row in rows} == {3} and {row["former_status"] for row in rows} == {""}
    assert press.change_batch != batch and press.updated > gone_at
    assert [row["created"] for row in rows] == born


def test_the_live_object_shows_what_is_stored(press: Publisher) -> None:
    """Also one that was loaded before it was deleted."""
    stale = Publisher.objects.get()
    press.delete()

    stale.undelete()

    assert {name: getattr(stale, name) for name in ACCOUNT} == account_of(press)
    assert stale.status == "ok" and not stale.is_deleted


def test_unsaved_changes_of_the_object_are_not_written(press: Publisher) -> None:
    """Restoration is no save."""
    press.delete()
    press.name, press.status = "Other", "mine"

    press.undelete()

    assert (Publisher.objects.get().name, press.name, press.status) == ("Press", "Other", "ok")


def test_what_is_not_deleted_is_left_as_it_is(press: Publisher) -> None:
    """And what is deleted below it; the object shows its state."""
    magazine().delete()
    before = everything()
    stale = Publisher.objects.get()
    stale.status = DELETED

    press.undelete()
    stale.undelete()

    assert everything() == before and stale.status == "ok"


def test_what_was_deleted_earlier_stays_deleted(press: Publisher) -> None:
    """With the batch of its own, by which it can be restored later."""
    magazine().delete()
    press.delete()

    press.undelete()
    assert statuses() == [["ok"], [DELETED, "pending"], [DELETED] * 2]

    magazine().undelete()
    assert statuses() == LIVE


def test_what_was_deleted_later_stays_deleted(press: Publisher) -> None:
    """It came below the deleted object, and went in a deletion of its own."""
    press.delete()
    monthly = Magazine.objects.create(title="Monthly", publisher=press)
    press.delete()

    press.undelete()

    assert statuses() == [["ok"], ["ok", "pending", DELETED], ["", "pending"]]
    monthly.refresh_from_db()
    monthly.undelete()
    assert monthly.status == ""


def test_a_part_of_what_went_together_comes_back_alone() -> None:
    """And what is below it; the rest comes with what is above."""
    top, *rest = desks = [Desk.objects.create(name=str(n)) for n in range(4)]
    for above, below in zip(desks, rest, strict=False):
        Desk.objects.filter(pk=below.pk).update(above=above)
    other = Desk.objects.create(name="other", above=top)
    top.delete()
    Desk._base_manager.filter(pk=top.pk).update(status="")

    rest[0].refresh_from_db()
    rest[0].undelete()

    assert list(Desk.objects.order_by("pk").values_list("status", flat=True)) == [""] * 4 + [DELETED]
    assert account_of(other)["former_status"] == ""


def test_circles_come_back_whole() -> None:
    """Each desk once, though each is below another that went with it."""
    first = Desk.objects.create(name="a")
    second = Desk.objects.create(name="b", above=first)
    first.above = second
    first.save()
    first.delete()
    version = account_of(second)["version"]

    first.undelete()

    assert set(Desk.objects.values_list("status", flat=True)) == {""}
    assert account_of(second)["version"] == version + 1


def test_a_row_that_moved_meanwhile_comes_back_only_below_what_it_is_below(press: Publisher) -> None:
    """Not with the object that it went with."""
    press.delete()
    other = Publisher.objects.create(name="Other")
    Magazine.objects.filter(title="Daily").update(publisher=other)

    press.undelete()

    assert statuses()[1] == ["ok", DELETED]
    magazine("Daily").undelete()
    assert magazine("Daily").status == "pending"


def test_a_model_with_a_table_of_its_own_beside_that_of_its_parent_comes_back(press: Publisher) -> None:
    """With what is above, and as itself, and as the issue that it is."""
    supplement = Supplement.objects.create(magazine=magazine(), theme="Wine", status="ok")
    press.delete()
    press.undelete()
    supplement.refresh_from_db()
    assert supplement.status == "ok"

    supplement.delete()
    Issue.objects.get(pk=supplement.pk).undelete()
    supplement.delete()
    assert Supplement.objects.all().undelete() == (1, {"newsroom.Supplement": 1})
    SpecialIssue.objects.get(pk=supplement.pk).delete()
    supplement.undelete()
    assert supplement.status == "ok" and supplement.theme == "Wine"


def test_an_object_that_was_never_saved_is_refused() -> None:
    """It has no row."""
    with pytest.raises(ValueError, match="Publisher object can't be restored because"):
        Publisher(name="New").undelete()


# -- Statuses set by hand


@pytest.mark.parametrize(
    "by_hand",
    [
        lambda one: one.save(),
        lambda one: one.save(update_fields=["status"]),
        lambda one: Magazine.objects.filter(pk=one.pk).update(status=DELETED),
        lambda one: Magazine.objects.filter(pk=one.pk).update(status=Value(DELETED)),
        lambda one: Magazine.objects.bulk_update([one], ["status"]),
    ],
    ids=["save", "update_fields", "update", "expression", "bulk_update"],
)
def test_what_was_deleted_by_hand_comes_back_alone(press: Publisher, by_hand: Callable[[Magazine], Any]) -> None:
    """With the status that it had, whatever deletions and restorations it has been through before."""
    press.delete()
    press.undelete()
    Issue.objects.update(status=DELETED)
    one = magazine()
    one.status = DELETED

    by_hand(one)

    stored = account_of(one)
    assert (stored["status"], stored["former_status"], stored["change_batch"]) == (DELETED, "ok", None)
    one.undelete()
    assert statuses() == [["ok"], ["ok", "pending"], [DELETED, DELETED]]


def test_what_was_restored_by_hand_and_is_deleted_again_comes_back_with_its_new_status(press: Publisher) -> None:
    """What went with it the first time does not."""
    one = magazine()
    one.delete()
    one.status = "new"
    one.save()
    one.status = DELETED
    one.save()

    one.undelete()

    assert one.status == "new" and statuses()[2] == [DELETED, DELETED]


def test_saves_of_a_deleted_object_that_leave_its_status_leave_its_batch(press: Publisher) -> None:
    """So that it comes back with the others, and with its own status."""
    stale = magazine()
    press.delete()
    stale.title = "Renamed"
    stale.save(update_fields=["title"])
    deleted = magazine("Renamed")
    deleted.title = "Weekly"
    deleted.save()

    press.undelete()

    assert statuses() == LIVE


# -- Many


def test_querysets_restore_each_row_with_what_went_with_it(press: Publisher) -> None:
    """Also where the rows went in several deletions, and the queryset asks for what the restoration changes."""
    other = Publisher.objects.create(name="Other")
    Magazine.objects.create(title="Monthly", publisher=other)
    by_hand = Publisher.objects.create(name="By hand", status="b")
    magazine("Daily").delete()
    press.delete()
    other.delete()
    Publisher.objects.filter(pk=by_hand.pk).update(status=DELETED)

    found = Publisher.objects.filter(status=DELETED).undelete()

    assert found == (7, {"newsroom.Publisher": 3, "newsroom.Magazine": 2, "newsroom.Issue": 2})
    assert statuses() == [["ok", "", "b"], ["ok", DELETED, ""], ["", "pending"]]
    assert len(set(Publisher.objects.values_list("change_batch", flat=True))) == 3
    assert Publisher.objects.all().undelete() == (0, {})


def test_querysets_restore_parents_and_children_at_once() -> None:
    """Where each went by itself, in either order."""
    top = Desk.objects.create(name="top")
    below = Desk.objects.create(name="below", above=top)
    last = Desk.objects.create(name="last", above=below)
    for one in (last, below, top):
        one.delete()

    assert Desk.objects.all().undelete() == (3, {"newsroom.Desk": 3})


def test_more_rows_are_restored_than_a_statement_takes_values(press: Publisher) -> None:
    """In several."""
    Magazine.objects.bulk_create(Magazine(title=str(n), publisher=press) for n in range(1_100))
    Magazine.objects.filter(title__in=["Daily", "Weekly"]).delete(hard=True)
    Magazine.objects.all().delete()

    assert Magazine.objects.all().undelete() == (1_100, {"newsroom.Magazine": 1_100})


@pytest.mark.parametrize(
    "shape",
    [
        lambda rows: rows[:1],
        lambda rows: rows.order_by("title").distinct("title"),
        lambda rows: rows.values("title"),
        lambda rows: rows.union(rows),
    ],
    ids=["sliced", "distinct", "values", "united"],
)
def test_querysets_that_django_deletes_not_are_not_restored(press: Publisher, shape: Callable[[Any], Any]) -> None:
    """With an error of the same kind."""
    with pytest.raises(Exception) as django:  # noqa: PT011 - whichever it is, it is compared
        shape(Article.objects.all()).delete()
    with pytest.raises(type(django.value), match="undelete"):
        shape(Magazine.objects.all()).undelete()


def test_joined_and_ordered_querysets_restore(press: Publisher) -> None:
    """Also where the condition is about the parent."""
    Magazine.objects.all().delete()

    found = Magazine.objects.filter(publisher__name="Press").order_by("publisher__name").undelete()

    assert found == (4, {"newsroom.Magazine": 2, "newsroom.Issue": 2})


# -- What doesn't come back

PATHS: dict[str, Callable[[Magazine], Any]] = {
    "undelete": lambda one: one.undelete(),
    "queryset": lambda one: Magazine.objects.filter(pk=one.pk).undelete(),
    "all": lambda one: Magazine.objects.all().undelete(),
    "save": lambda one: one.save(),
    "update_fields": lambda one: one.save(update_fields=["status"]),
    "keep_times": lambda one: one.save(keep_times=True),
    "skip_unchanged": lambda one: one.save(skip_unchanged=True),
    "update": lambda one: Magazine.objects.filter(pk=one.pk).update(status="ok"),
    "update of all": lambda one: Magazine.objects.update(status="ok", title="x"),
    "update by value": lambda one: Magazine.objects.update(status=Value("")),
    "update by field": lambda one: Magazine.objects.update(status=F("former_status")),
    "update by expression": lambda one: Magazine.objects.update(status=Concat(F("status"), Value("x"))),
    "update by case": lambda one: Magazine.objects.update(
        status=Case(When(pk=one.pk, then=Value("")), default="status")
    ),
    "joined update": lambda one: Magazine.objects.filter(publisher__name="Press").update(status="ok"),
    "update_or_create": lambda one: Magazine.objects.update_or_create(pk=one.pk, defaults={"status": "ok"}),
    "bulk_update": lambda one: Magazine.objects.bulk_update([one], ["status"]),
    "related": lambda one: one.publisher.magazines.update(status="ok"),
}


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_hr_45_below_a_deleted_object_nothing_is_restored(press: Publisher, path: Callable[[Magazine], Any]) -> None:
    """On whatever path; the error names both by their handles, and nothing has changed."""
    press.delete()
    before, one = everything(), magazine()
    one.status = "ok"

    with pytest.raises(UndeleteRefused) as refused, transaction.atomic():
        path(one)

    assert everything() == before
    (message,) = refused.value.messages
    assert message.startswith("magazine") and message.endswith(
        f"can't be restored: {press.handle} above it is deleted."
    )
    assert refused.value.code == "parent_deleted" and isinstance(refused.value, ValidationError)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_below_a_live_object_each_of_these_restores(press: Publisher, path: Callable[[Magazine], Any]) -> None:
    """It is only the deleted parent that forbids it."""
    one = magazine()
    one.delete()
    one.status = "ok"

    path(one)

    assert Magazine.objects.get(pk=one.pk).status != DELETED


def test_the_transaction_around_a_refusal_can_go_on(press: Publisher) -> None:
    """It was a savepoint that was undone."""
    press.delete()

    with transaction.atomic():
        for attempt in (magazine().undelete, Magazine.objects.all().undelete):
            with pytest.raises(UndeleteRefused):
                attempt()
        with pytest.raises(UndeleteRefused):
            Magazine.objects.update(status="ok")
        press.undelete()

    assert statuses() == LIVE


def test_messages_are_translatable(press: Publisher) -> None:
    """They are made when they are shown."""
    press.delete()

    with pytest.raises(UndeleteRefused) as refused:
        magazine().undelete()

    assert refused.value.params == {"object": magazine().handle, "parent": press.handle}
    with translation.override("de"):
        assert press.handle in refused.value.messages[0]


def test_a_parent_that_takes_nothing_along_forbids_it_as_well() -> None:
    """A story is not deleted with its desk, but not restored below it either."""
    desk = Desk.objects.create(name="Sport")
    story = Story.objects.create(title="Goal", desk=desk)
    story.delete()
    desk.delete()

    with pytest.raises(UndeleteRefused, match=rf"{desk.handle} above it is deleted"):
        story.undelete()
    Story.objects.filter(pk=story.pk).update(desk=None)
    story.undelete()

    assert Story.objects.get().status == ""


def test_a_live_object_below_a_deleted_one_is_saved_and_moved_like_any(press: Publisher) -> None:
    """It is no restoration."""
    press.delete()
    monthly = Magazine.objects.create(title="Monthly", publisher=press)
    monthly.status = "pending"
    monthly.save()
    Magazine.objects.filter(pk=monthly.pk).update(status="ok")
    Magazine.objects.exclude(status=DELETED).update(status=Value("new"))

    assert account_of(monthly)["status"] == "new"


def test_an_object_is_restored_below_the_parent_that_it_is_saved_with(press: Publisher) -> None:
    """Moved and restored at once."""
    press.delete()
    other = Publisher.objects.create(name="Other")
    one = magazine()

    one.status, one.publisher = "ok", other
    one.save()
    assert account_of(one)["status"] == "ok"
    one.delete()
    one.status, one.publisher = "ok", press
    with pytest.raises(UndeleteRefused), transaction.atomic():
        one.save()


def test_a_fixture_says_itself_what_a_row_is_to_be(press: Publisher) -> None:
    """It is loaded as it is."""
    press.delete()
    one = magazine()
    one.status = "ok"

    one.save_base(raw=True)

    assert account_of(one)["status"] == "ok"


def test_a_restoration_is_undone_as_a_whole_where_a_receiver_fails(press: Publisher) -> None:
    """Its error goes on as it is."""
    press.delete()
    before = everything()

    def fail(**kwargs: Any) -> None:
        raise RuntimeError("no")

    undeleted.connect(fail, sender=Issue)
    try:
        with pytest.raises(RuntimeError):
            press.undelete()
        with pytest.raises(RuntimeError):
            Publisher.objects.all().undelete()
    finally:
        undeleted.disconnect(fail, sender=Issue)

    assert everything() == before and press.is_deleted


def test_a_save_of_a_live_object_takes_one_statement_beside_those_that_every_save_takes(press: Publisher) -> None:
    """Whatever is above it, and whatever its status becomes."""
    one, other = magazine(), Publisher.objects.get()

    with CaptureQueriesContext(connection) as above:
        other.save()
    with CaptureQueriesContext(connection) as below:
        one.status = "pending"
        one.save()

    assert len(below) == len(above)
    assert sum("UPDATE" in query["sql"].split("DO UPDATE")[0] for query in below.captured_queries) == 1


# -- More than one parent


@pytest.fixture
def stage(transactional_db: None) -> Iterator[SimpleNamespace]:
    """A show with episodes; an episode may have a sponsor and a studio as well, a special one a curator."""
    with isolate_apps("newsroom"):

        class Sponsor(HandleRefModel):
            code = models.CharField(max_length=20, unique=True)

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

        class Show(HandleRefModel):
            class HandleRef:
                delete_cascade = ["episodes"]

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

        class Episode(HandleRefModel):
            show = models.ForeignKey(Show, models.CASCADE, related_name="episodes")
            sponsor = models.ForeignKey(Sponsor, models.CASCADE, to_field="code", null=True, related_name="episodes")
            studio = OneToOneField(Sponsor, models.CASCADE, null=True, related_name="own")

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

        class Special(Episode):
            curator = models.ForeignKey(Sponsor, models.CASCADE, null=True, related_name="curated")

            class HandleRef:
                tag = "special"
                delete_cascade = ["extras"]

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

        class Extra(HandleRefModel):
            special = models.ForeignKey(Special, models.CASCADE, related_name="extras")

            class Meta(HandleRefModel.Meta):
                app_label = "newsroom"

        tables: list[type[models.Model]] = [Sponsor, Show, Episode, Special, Extra]
        with connection.schema_editor() as editor:
            for model in tables:
                editor.create_model(model)
        yield SimpleNamespace(Sponsor=Sponsor, Show=Show, Episode=Episode, Special=Special, Extra=Extra)
        with connection.schema_editor() as editor:
            for model in reversed(tables):
                editor.delete_model(model)


@pytest.mark.parametrize("link", ["sponsor", "studio"])
def test_hr_45_a_child_with_another_deleted_parent_keeps_the_whole_deleted(stage: SimpleNamespace, link: str) -> None:
    """Whichever field leads there; all of it is refused, and comes back once that parent is there."""
    show, sponsor = stage.Show.objects.create(), stage.Sponsor.objects.create(code="acme")
    first = stage.Episode.objects.create(show=show)
    second = stage.Episode.objects.create(show=show, **{link: sponsor})
    show.delete()
    sponsor.delete()

    for attempt in (show.undelete, stage.Show.objects.all().undelete):
        with pytest.raises(UndeleteRefused, match=f"{second.handle} can't be restored: {sponsor.handle} above"):
            attempt()
        assert not stage.Episode.handleref.undeleted().exists() and show.is_deleted

    first.refresh_from_db()
    with pytest.raises(UndeleteRefused, match=f"{first.handle} can't be restored: {show.handle} above"):
        first.undelete()
    sponsor.undelete()
    show.undelete()
    assert stage.Episode.handleref.undeleted().count() == 2


def test_the_parents_of_a_table_beside_count_as_well(stage: SimpleNamespace) -> None:
    """Under whichever of its models the row is restored."""
    show, sponsor = stage.Show.objects.create(), stage.Sponsor.objects.create(code="acme")
    special = stage.Special.objects.create(show=show, curator=sponsor)
    show.delete()
    sponsor.delete()
    episode = stage.Episode.objects.get()

    with pytest.raises(UndeleteRefused, match=f"{special.handle} can't be restored: {sponsor.handle} above"):
        show.undelete()
    episode.status = ""
    with pytest.raises(UndeleteRefused), transaction.atomic():
        episode.save()
    with pytest.raises(UndeleteRefused):
        stage.Special.objects.update(status="")
    special.refresh_from_db()
    with pytest.raises(UndeleteRefused):
        special.undelete()


def test_what_is_below_a_table_beside_goes_and_comes_with_the_row(stage: SimpleNamespace) -> None:
    """Under whichever of its models the row was deleted, and is restored."""
    show = stage.Show.objects.create()
    special = stage.Special.objects.create(show=show)
    extra = stage.Extra.objects.create(special=special)
    episode = stage.Episode.objects.get()

    for deleted, restored in ((show, show), (episode, special), (special, episode)):
        deleted.delete()
        extra.refresh_from_db()
        assert extra.is_deleted
        restored.undelete()
        extra.refresh_from_db()
        assert not extra.is_deleted
