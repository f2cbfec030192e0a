"""Where nothing is to be left of a deleted object, its actions and trackers go: whole, and no others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, Note, Topic

from footfall.producers import publish_action
from footfall.producers.messages import Ref
from footfall.storage import tombstones
from footfall.storage.deletion import Doomed
from footfall.storage.marks import raise_marks
from footfall.storage.models import Action, ActionObject, DeletedItem, Tracker, ViewMark
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"action", "actionobject", "actionstamp", "tracker"}


@pytest.fixture(autouse=True)
def _nothing_to_warn_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tombstones, "_warned", {Article, Topic, User})


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def log(django_capture_on_commit_callbacks: Any) -> Callable[..., UUID]:
    """Log an action, and have a worker store it; everybody reads it."""

    def logged(*args: Any, **kwargs: Any) -> UUID:
        with django_capture_on_commit_callbacks(execute=True):
            pk = publish_action(*args, **kwargs)
        drain()
        raise_marks({(user, "footfall_storage.action", str(pk)): NOW for user in (1, 2)}, "default")
        return pk

    return logged


def follow(user: User, label: str, key: object = "") -> None:
    Tracker.objects.create(user_id=user.pk, tracked_type=label, tracked_id=str(key))


def followed() -> set[tuple[str, str]]:
    return set(Tracker.objects.values_list("tracked_type", "tracked_id"))


def stored() -> tuple[set[UUID], set[UUID], set[UUID]]:
    """Actions, those that have entries, those that have marks."""
    marked = ViewMark.objects.filter(object_type="footfall_storage.action").values_list("object_id", flat=True)
    return (
        set(Action.objects.values_list("pk", flat=True)),
        set(ActionObject.objects.values_list("action_id", flat=True)),
        {UUID(key) for key in marked},
    )


@pytest.mark.parametrize("how", ["object", "queryset", "cascade"])
def test_ac_53_whole_actions_and_trackers_go(how: str, ada: User, log: Callable[..., UUID]) -> None:
    """Of the actor, of one of two targets, of a related object; with entries and everybody's marks."""
    article = Article.objects.create(title="a")
    gone, stays = Note.objects.create(title="gone", article=article), Note.objects.create(title="stays")
    log(gone, "appeared")
    log(ada, "wrote", [gone, stays])
    log(ada, "praised", stays, related=gone)
    kept = {log(ada, "praised", stays), log(ada, "wrote", Note), log(stays, "appeared")}
    for key in (gone.pk, stays.pk, ""):
        follow(ada, "newsroom.note", key)
    gone_key = str(gone.pk)
    follow(ada, "newsroom.topic", gone_key)
    if how == "object":
        gone.delete()
    elif how == "queryset":
        Note.objects.filter(title="gone").delete()
    else:
        article.delete()

    assert stored() == (kept, kept, kept)
    assert followed() == {("newsroom.note", str(stays.pk)), ("newsroom.note", ""), ("newsroom.topic", gone_key)}
    assert set(DeletedItem.objects.values_list("object_type", flat=True)) <= {"newsroom.article"}


def test_ac_53_a_deletion_that_is_rolled_back_purges_nothing(ada: User, log: Callable[..., UUID]) -> None:
    note = Note.objects.create(title="n")
    pk = log(ada, "wrote", note)
    follow(ada, "newsroom.note", note.pk)
    with pytest.raises(RuntimeError), transaction.atomic():
        note.delete()
        assert stored() == (set(), set(), set()) and followed() == set()
        raise RuntimeError

    assert stored() == ({pk}, {pk}, {pk}) and len(followed()) == 1


@pytest.mark.parametrize("many", [10, 100, 500])
def test_ac_53_statements_do_not_grow_with_objects_nor_actions(
    many: int, ada: User, django_capture_on_commit_callbacks: Any
) -> None:
    notes = Note.objects.bulk_create(Note(title=f"n{n}") for n in range(many))
    with django_capture_on_commit_callbacks(execute=True):
        for n, note in enumerate(notes):
            publish_action(ada, "wrote", note, n=n, grouping_delay=-1)
    drain()
    assert Action.objects.count() == many
    with CaptureQueriesContext(connection) as queries:
        Note.objects.all().delete()

    ours = [query["sql"] for query in queries if "footfall_storage" in query["sql"]]
    # Marks on the notes, trackers; is there any action, actions, marks on them, entries.
    assert len(ours) == 6
    assert not any("actionstamp" in sql for sql in ours)  # it would hold up whoever stores actions
    assert stored() == (set(), set(), set())


def test_what_is_no_object_is_never_purged() -> None:
    """A blank key stands for the whole model, with all of its actions."""
    for ref in (Ref("newsroom.note"), Ref("newsroom.note", "")):
        with pytest.raises(AssertionError):
            Doomed(ref, purged=True)


@pytest.mark.parametrize("how", ["object", "queryset"])
def test_a_deleted_user_s_trackers_go(how: str, ada: User, log: Callable[..., UUID]) -> None:
    """Not those of others, nor others' trackers of the user, who has left a description; nor the user's actions."""
    bob, topic = User.objects.create(username="bob"), Topic.objects.create(slug="t")
    pk = log(ada, "praised", topic)
    for user in (ada, bob):
        follow(user, "newsroom.topic", "t")
        follow(user, "auth.user", ada.pk)
    if how == "object":
        ada.delete()
    else:
        User.objects.filter(username="ada").delete()

    assert set(Tracker.objects.values_list("user_id", "tracked_type")) == {
        (bob.pk, "newsroom.topic"),
        (bob.pk, "auth.user"),
    }
    assert stored()[:2] == ({pk}, {pk})
    assert DeletedItem.objects.get().description == "ada"


def test_what_is_kept_elsewhere_goes_after_the_commit(archive: str, transactional_db: None) -> None:
    """Actions and trackers on another database than the object, marks on the object's."""
    ada, note, other = (
        User.objects.create(username="ada"),
        Note.objects.create(title="n"),
        Topic.objects.create(slug="t"),
    )
    kept, doomed = publish_action(ada, "wrote", other), publish_action(ada, "wrote", [note, other])
    drain()
    raise_marks({(ada.pk, "footfall_storage.action", str(pk)): NOW for pk in (kept, doomed)}, "default")
    follow(ada, "newsroom.note", note.pk)
    follow(ada, "newsroom.topic", "t")
    both = {kept, doomed}
    assert stored() == (both, both, both)

    with pytest.raises(RuntimeError), transaction.atomic():
        Note.objects.all().delete()
        raise RuntimeError
    with transaction.atomic():
        Note.objects.all().delete()
        assert stored() == (both, both, both)

    assert stored() == ({kept}, {kept}, {kept})
    assert followed() == {("newsroom.topic", "t")}
    ada.delete()
    assert followed() == set() and not ViewMark.objects.exists()
