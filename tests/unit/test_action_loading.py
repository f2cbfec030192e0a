"""What actions are about is loaded for all of a list together, however it is asked for."""

from __future__ import annotations

import copy
import gc
import pickle
import uuid
import weakref
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.utils.functional import SimpleLazyObject
from newsroom.models import Article, Page, Topic
from pytest_django import DjangoAssertNumQueries
from storedactions import store
from visibleobjects import no_secrets

from footfall.producers.messages import Ref
from footfall.storage import loading
from footfall.storage.loading import Objects, entries_of, load, objects_of
from footfall.storage.models import Action, ActionObject, DeletedItem

pytestmark = pytest.mark.django_db


@pytest.fixture
def ada(db: None) -> User:
    return User.objects.create(username="ada")


def logged(actor: Any, number: int) -> list[Action]:
    """Actions about three types of objects, beside their actor."""
    topic = Topic.objects.create(slug="secret news")
    return [
        store(
            actor,
            targets=[Article.objects.create(title=f"a{n}"), Page.objects.create(title=f"p{n}")],
            related=[topic],
            seconds=n,
        )
        for n in range(number)
    ]


def about(action: Action) -> tuple[str, list[str], list[str]]:
    return str(action.actor), list(map(str, action.targets)), list(map(str, action.related))


# -- Together


def test_ac_05_a_list_of_100_is_loaded_by_one_query_and_one_per_type(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    logged(ada, 100)
    actions = list(Action.objects.order_by("timestamp"))
    with django_assert_num_queries(1 + 4):
        assert [about(action) for action in actions] == [
            ("ada", [f"a{n}", f"p{n}"], ["secret news"]) for n in range(100)
        ]
    with django_assert_num_queries(0):
        assert actions[50].targets[0].title == "a50" and actions[99].related == actions[0].related


@pytest.mark.parametrize("how", ["iterated", "chunks", "sliced", "filtered", "loaded", "apart"])
def test_whichever_way_they_came(how: str, ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Also actions that came one by one, when they are loaded eagerly."""
    made = logged(ada, 10)
    rows = Action.objects.all()
    lists: dict[str, Any] = {
        "iterated": lambda: list(iter(rows)),
        "chunks": lambda: list(rows.iterator(chunk_size=100)),
        "sliced": lambda: list(rows[:10]),
        "filtered": lambda: list(rows.filter(verb="wrote").exclude(level=0)),
        "loaded": lambda: list(rows),
        "apart": lambda: [copy.deepcopy(Action.objects.get(pk=one.pk)) for one in made],
    }
    actions = lists[how]()
    assert len(actions) == 10
    with django_assert_num_queries(5):
        load(actions)
    with django_assert_num_queries(0):
        load(actions)
        assert {str(objects_of(action).actor) for action in actions} == {"ada"}


def test_one_loads_for_itself(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """`get`, `first`, and one that was just made."""
    made = logged(ada, 3)
    for action in (Action.objects.get(pk=made[0].pk), Action.objects.first(), made[1]):
        assert action is not None
        with django_assert_num_queries(5):
            assert str(action.actor) == "ada" and len(action.targets) == 2


def test_a_long_list_is_loaded_in_pieces(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """A statement has a limited number of parameters."""
    made = Action.objects.bulk_create(
        Action(id=uuid.uuid4(), verb="v", timestamp="2024-05-01T00:00Z") for _ in range(1100)
    )
    ActionObject.objects.bulk_create(
        ActionObject(action=one, role="a", object_type="auth.user", object_id=str(ada.pk)) for one in made
    )
    actions = list(Action.objects.all())
    with django_assert_num_queries(3 + 1):
        assert all(action.actor == ada for action in actions)


# -- What is shown


def test_objects_stand_in_the_order_in_which_they_came(ada: User) -> None:
    pages = [Page.objects.create(title=title) for title in "cab"]
    action = store(ada, targets=[*pages, Article, *reversed([Topic.objects.create(slug=slug) for slug in "zy"])])
    assert list(map(str, action.targets[:3])) == ["c", "a", "b"]
    assert action.targets[3] is Article
    assert list(map(str, action.targets[4:])) == ["y", "z"]


def test_what_is_deleted_is_what_is_left_of_it_and_what_left_nothing_is_dropped(ada: User) -> None:
    """Also an actor."""
    page = Page.objects.create(title="p")
    gone = Article(pk=999999)
    action = store(("auth.user", "999999"), targets=[gone, page], related=[("newsroom.topic", "left"), gone])
    DeletedItem.objects.create(object_type="newsroom.topic", object_id="left", description="on seeing")
    assert objects_of(action) == Objects(None, [page], [DeletedItem.objects.get()])
    DeletedItem.objects.create(object_type="auth.user", object_id="999999", description="bob")
    again = Action.objects.get()
    assert str(again.actor) == "bob" and isinstance(again.actor, DeletedItem)


def test_ac_51_an_action_without_an_actor_has_none(ada: User) -> None:
    action = store(None, targets=[ada])
    assert objects_of(action) == Objects(None, [ada], [])


def test_one_that_is_not_stored_is_about_nothing() -> None:
    assert objects_of(Action(id=uuid.uuid4())) == Objects()
    assert objects_of(Action()) == Objects()


def test_one_that_was_made_with_the_text_of_its_id_is_itself(ada: User) -> None:
    made = store(ada)
    assert Action(id=str(made.pk)).actor == ada
    assert store(ada, id=str(uuid.uuid4())).actor == ada


def test_entries_tell_roles_and_refs(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """For a tracker, which needs no objects: one query for the whole list."""
    topic = Topic.objects.create(slug="t")
    for _ in range(3):
        store(ada, targets=[topic, Article], related=[topic])
    actions = list(Action.objects.all())
    ref = Ref("newsroom.topic", "t")
    expected = [("a", Ref("auth.user", str(ada.pk))), ("t", ref), ("t", Ref("newsroom.article")), ("r", ref)]
    with django_assert_num_queries(1):
        assert [entries_of(action) for action in actions] == [expected] * 3


# -- For a viewer


def test_each_viewer_sees_their_own_and_it_is_loaded_once(
    ada: User, settings: Any, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Entries are loaded once for all. A request's lazy user is the user; anonymous ones may differ."""
    logged(ada, 5)
    actions = list(Action.objects.all())
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": no_secrets}
    for number, viewer in enumerate((ada, AnonymousUser(), None)):
        with django_assert_num_queries(5 + (number == 0)):
            assert {str(objects_of(action, viewer).related[0]) for action in actions} == {"topic"}
        with django_assert_num_queries(0):
            load(actions, viewer)
    with django_assert_num_queries(0):
        objects_of(actions[0], SimpleLazyObject(lambda: ada))
    with django_assert_num_queries(4):
        assert {str(action.related[0]) for action in actions} == {"secret news"}


def test_another_instance_of_a_user_may_have_other_permissions(ada: User, settings: Any) -> None:
    """What the former was shown says nothing."""
    settings.FOOTFALL = {
        **settings.FOOTFALL,
        "VISIBLE_OBJECTS": lambda user, rows: rows if user.is_staff or rows.model is User else rows.none(),
    }
    logged(ada, 1)
    (action,) = Action.objects.all()
    ada.is_staff = True
    assert "secret news" in Action.bulk_render([action], ada)[0]
    assert "secret news" not in Action.bulk_render([action], User.objects.get(pk=ada.pk))[0]


def test_without_a_hook_all_viewers_share_what_is_loaded(
    ada: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    logged(ada, 5)
    actions = list(Action.objects.all())
    with django_assert_num_queries(5):
        load(actions, ada)
        load(actions, AnonymousUser())
        load(actions)
        assert objects_of(actions[0], None) is objects_of(actions[0], ada)


def test_what_is_hidden_is_nowhere_in_what_is_rendered(ada: User, settings: Any) -> None:
    """As actor, target or related; as an object or what is left of it; as text or HTML."""
    bob = User.objects.create(username="bob")
    objects = [
        Article.objects.create(title="secret plans"),
        Page.objects.create(title="secret plans"),
        Topic.objects.create(slug="secret-plans"),
    ]
    DeletedItem.objects.create(object_type="newsroom.article", object_id="999999", description="secret plans")
    store(objects[0], targets=objects[1:], related=objects)
    store(bob, targets=[("newsroom.article", "999999")], related=[objects[2]])
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": "visibleobjects.no_secrets"}
    for viewer in (ada, AnonymousUser()):
        texts = Action.bulk_render(Action.objects.all(), viewer)
        assert len(texts) == 2 and "secret" not in "".join(texts)
        assert "article" in texts[1] or "article" in texts[0]
        for one in objects:
            assert str(one.pk) not in "".join(texts) or isinstance(one.pk, int)


# -- Copies


def test_actions_can_be_pickled_and_copied(ada: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """Before and after they are loaded; a list stays one that is loaded together, and takes no objects along."""
    logged(ada, 5)
    actions = list(Action.objects.all())
    for _ in range(2):
        for again in (pickle.loads(pickle.dumps(actions)), copy.deepcopy(actions)):
            with django_assert_num_queries(5):
                assert [about(one) for one in again] == [about(one) for one in again] and again == actions
        expected = [about(one) for one in actions]
    with django_assert_num_queries(0):
        assert [about(copy.copy(one)) for one in actions] == expected
    rows: Any = Action.objects.all()
    assert len(pickle.dumps(list(rows))) == len(pickle.dumps(actions))


def test_the_objects_go_with_the_last_action(ada: User) -> None:
    """Nothing else keeps them."""
    logged(ada, 3)
    actions = list(Action.objects.all())
    known = weakref.ref(actions[0].targets[0])
    kept = actions.pop()
    del actions
    gc.collect()
    assert known() is not None
    del kept
    gc.collect()
    assert known() is None


def test_an_action_can_be_asked_anew(ada: User) -> None:
    logged(ada, 3)
    first, second, _ = Action.objects.all()
    assert len(first.targets) == len(second.targets) == 2
    ActionObject.objects.filter(role="t").delete()
    loading.forget(first)
    assert first.targets == [] and len(second.targets) == 2


def test_one_that_was_given_another_id_is_another_action(ada: User) -> None:
    """As when a row is copied."""
    action = store(ada)
    assert action.actor == ada
    action.pk = uuid.uuid4()
    assert action.actor is None
