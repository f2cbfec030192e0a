"""Actions, what they are about, and what is read of them, in several databases."""

from __future__ import annotations

import uuid

import pytest
from django.contrib.auth.models import User
from newsroom.models import Article
from storedactions import at, store

from footfall.storage import unread
from footfall.storage.models import Action, ActionObject, DeletedItem, ViewMark

#: The models whose rows are kept on the second database: see the fixture `archive`.
ARCHIVED = {"article"}


def filed(archive: str, user: User) -> Action:
    """An action that lies on the second database, as one that was published with ``using`` does."""
    action = Action(id=uuid.uuid4(), verb="filed", timestamp=at(0), renewed=at(0), changed=at(0))
    action.save(using=archive)
    entries = [("a", "auth.user", str(user.pk)), ("t", "newsroom.topic", "gone")]
    for role, label, key in entries:
        ActionObject.objects.using(archive).create(action=action, role=role, object_type=label, object_id=key)
    return action


def test_objects_are_read_where_they_are_kept(archive: str) -> None:
    """Entries where the action lies, objects where their model is routed."""
    ada = User.objects.create(username="ada")
    article = Article.objects.create(title="filed")
    assert article._state.db == archive
    store(ada, targets=[article])
    (action,) = Action.objects.all()
    assert action.targets == [article] and action.targets[0]._state.db == archive
    assert action.actor._state.db == "default"


def test_an_action_of_another_database_is_loaded_from_there(archive: str) -> None:
    """What is left of a deleted object stands in one place for all."""
    ada = User.objects.create(username="ada")
    filed(archive, ada)
    DeletedItem.objects.create(object_type="newsroom.topic", object_id="gone", description="old")
    for action in (Action.objects.using(archive).get(), *Action.objects.using(archive).all()):
        assert action.actor == ada and list(map(str, action.targets)) == ["old"]


def test_an_action_that_no_worker_would_find_is_marked_at_once(archive: str) -> None:
    """Marks stand in one place for all databases."""
    ada = User.objects.create(username="ada")
    filed(archive, ada)
    action = Action.objects.using(archive).get()
    unread.publish_read(ada, [action])
    mark = ViewMark.objects.get()
    assert (mark.object_id, mark.at, mark.seen) == (str(action.pk), at(0), True)


@pytest.mark.parametrize("force", [True, False])
def test_actions_of_several_databases_are_marked_together(archive: str, force: bool) -> None:
    ada = User.objects.create(username="ada")
    filed(archive, ada)
    store(ada)
    actions = [*Action.objects.using(archive).all(), *Action.objects.all()]
    unread.mark_unread(ada, actions)
    assert unread.bulk_is_unread(ada, actions) == [True, True]
    assert unread.bulk_mark_read(ada, actions, force=force) == [True, True]
    assert unread.bulk_is_unread(ada, actions) == [False, False]
