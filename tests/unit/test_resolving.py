"""Refs become what they name, for many at once and for a viewer; nothing that is stored makes a page fail."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError, models
from django.db.models import QuerySet
from django.test.utils import isolate_apps
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries
from visibleobjects import no_secrets

from footfall.producers.messages import Ref
from footfall.storage import refkeys, resolving
from footfall.storage.models import DeletedItem, Statistic
from footfall.storage.refkeys import installed, key_in
from footfall.storage.resolving import ANYBODY, Hidden, resolve

pytestmark = pytest.mark.django_db

Restrict = Callable[[Any], None]


def ref(obj: models.Model) -> Ref:
    return Ref((obj._meta.concrete_model or obj)._meta.label_lower, str(obj.pk))


def buried(label: str, key: str, description: str = "it was") -> Ref:
    """The Ref of an object of which only its description is left."""
    DeletedItem.objects.create(object_type=label, object_id=key, description=description)
    return Ref(label, key)


@pytest.fixture
def restrict(settings: Any) -> Restrict:
    """Set VISIBLE_OBJECTS."""

    def restricted(hook: Any) -> None:
        settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": hook}

    return restricted


@pytest.fixture
def three() -> list[Any]:
    """One object of each kind of key."""
    return [
        Article.objects.create(title="a secret"),
        Page.objects.create(title="a secret"),
        Topic.objects.create(slug="a-secret"),
    ]


# -- What they name


def test_objects_of_any_kind_of_key_models_and_what_is_left(
    three: list[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One query per type, and one for what is missing; a Ref twice is one."""
    left = buried("newsroom.article", "999999", "On seeing")
    refs = [*map(ref, three), *map(ref, three), Ref("newsroom.article"), left]
    with django_assert_num_queries(4):
        found = resolve(refs)

    assert [found[ref(one)] for one in three] == three
    assert found[Ref("newsroom.article")] is Article
    assert isinstance(found[left], DeletedItem) and str(found[left]) == "On seeing"


def test_nothing_costs_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert resolve([]) == {}
        assert resolve([Ref("newsroom.topic")]) == {Ref("newsroom.topic"): Topic}


def test_where_all_is_there_nobody_asks_for_what_is_left(
    three: list[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):
        resolve(map(ref, three))


def test_many_are_asked_for_in_pieces(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """A statement has a limited number of parameters."""
    made = Article.objects.bulk_create(Article(title=str(number)) for number in range(1100))
    gone = [Ref("newsroom.article", str(made[-1].pk + number)) for number in range(1, 602)]
    DeletedItem.objects.bulk_create(DeletedItem(object_type=one.type, object_id=one.id or "") for one in gone)
    with django_assert_num_queries(4 + 2):
        found = resolve([*map(ref, made), *gone])
    assert len(found) == 1701


def test_what_is_gone_without_a_trace_is_left_out() -> None:
    """Also a model that was uninstalled, and a text that is no key; neither is an error."""
    nowhere = [
        Ref("newsroom.article", "999999"),
        Ref("newsroom.article", "no number"),
        Ref("newsroom.article", "9" * 30),
        Ref("newsroom.page", "no-uuid"),
        Ref("newsroom.topic", "x" * 51),
        Ref("newsroom.gone", "1"),
        Ref("gone.model", "1"),
        Ref("gone.model"),
        Ref("nonsense"),
        Ref("", ""),
    ]
    assert resolve(nowhere) == {}
    assert resolve(nowhere, viewer=None) == {}
    left = [buried("gone.model", "1"), buried("newsroom.article", "no number")]
    assert resolve(nowhere).keys() == set(left)


def test_what_is_left_is_that_of_the_same_ref_only() -> None:
    """Asked by types and ids together, which cross."""
    wanted = [buried("newsroom.article", "1"), buried("newsroom.topic", "t")]
    buried("newsroom.article", "t")
    buried("newsroom.topic", "1")
    assert resolve(wanted).keys() == set(wanted)


def test_an_object_that_is_there_again_is_shown_instead_of_what_was_left_of_it() -> None:
    """A key may be used once more."""
    left = buried("newsroom.topic", "news")
    topic = Topic.objects.create(slug="news")
    assert resolve([left]) == {left: topic}


def test_a_default_manager_that_hides_rows_drops_nothing(monkeypatch: pytest.MonkeyPatch, three: list[Any]) -> None:
    """A soft-deleted object is still what an action was about."""

    class Nothing(models.Manager[Article]):
        def get_queryset(self) -> QuerySet[Article]:
            return super().get_queryset().none()

    hiding = Nothing()
    hiding.name, hiding.model = "hiding", Article  # as contribute_to_class does
    monkeypatch.setattr(Article._meta, "local_managers", [hiding])
    Article._meta._expire_cache()  # type: ignore[attr-defined]  # which the stubs leave out
    try:
        assert not Article._default_manager.exists()
        assert resolve([ref(three[0])]) == {ref(three[0]): three[0]}
    finally:
        monkeypatch.undo()
        Article._meta._expire_cache()  # type: ignore[attr-defined]  # likewise


def test_a_proxy_is_what_its_base_is(three: list[Any]) -> None:
    column = Column.objects.get()
    assert resolve([ref(column)]) == {ref(column): three[0]}
    assert installed("newsroom.column") is Article


def test_a_model_that_was_swapped_for_another_is_not_installed(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """It has no table."""
    monkeypatch.setattr(Topic._meta, "swappable", "NEWSROOM_TOPIC_MODEL")
    settings.NEWSROOM_TOPIC_MODEL = "newsroom.Page"
    installed.cache_clear()
    try:
        assert resolve([Ref("newsroom.topic", "t")]) == {}
    finally:
        installed.cache_clear()


@isolate_apps("newsroom")
def test_a_key_that_points_elsewhere_is_one_of_there() -> None:
    """That of a child table is its parent's."""

    class Special(Page):
        class Meta:
            app_label = "newsroom"

    key = uuid.uuid4()
    assert key_in(Special, str(key)) == key
    assert key_in(Special, "1") is None


@pytest.mark.parametrize(
    "text",
    ["a\0", "\0", "a\ud800", "x" * 256, "x" * 100_000],
    ids=["NUL", "NUL only", "surrogate", "long", "very long"],
)
def test_what_no_row_can_hold_is_no_key_and_names_nothing(text: str) -> None:
    """It is not asked for, as databases refuse some of it, nor is it kept in memory."""
    kept = refkeys._key_in.cache_info().currsize
    assert key_in(Topic, text) is None and key_in(Article, text) is None
    assert resolve([Ref("newsroom.topic", text), Ref(text, "1"), Ref("gone.model", text)]) == {}
    assert refkeys._key_in.cache_info().currsize == kept


@isolate_apps("newsroom")
def test_the_longest_key_is_one() -> None:
    """Characters are counted, as columns count them."""

    class Named(models.Model):
        name = models.CharField(primary_key=True, max_length=255)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return self.name

    assert key_in(Named, "é" * 255) == "é" * 255
    assert key_in(Named, "é" * 256) is None


# -- For a viewer


def test_a_viewer_sees_what_the_hook_lets_through(restrict: Restrict, three: list[Any]) -> None:
    """The rest is a neutral stand-in, as which it says no more than of what model it is."""
    restrict(no_secrets)
    open_ = Article.objects.create(title="open")
    for viewer in (User(username="ada"), AnonymousUser(), None):
        found = resolve(map(ref, [*three, open_]), viewer)
        assert found[ref(open_)] == open_
        hidden = [found[ref(one)] for one in three]
        assert [str(one) for one in hidden] == ["article", "page", "topic"]
        for one in hidden:
            assert isinstance(one, Hidden)
            told = {name for name in dir(one) if not name.startswith("__")}
            assert told == {"_name"} and "secret" not in repr(one)
    assert resolve(map(ref, three), ANYBODY) == resolve(map(ref, three)) == {ref(one): one for one in three}


def test_the_hook_gets_the_viewer_and_may_be_an_import_string(restrict: Restrict, three: list[Any]) -> None:
    seen: list[Any] = []

    def hook(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
        seen.append((user, rows.model))
        return rows

    ada = User(username="ada")
    restrict(hook)
    assert resolve(map(ref, three), ada) == {ref(one): one for one in three}
    assert seen == [(ada, Article), (ada, Page), (ada, Topic)]
    restrict("visibleobjects.no_secrets")
    assert all(isinstance(one, Hidden) for one in resolve(map(ref, three), ada).values())


def test_visibility_costs_one_query_for_all_that_is_missing(
    restrict: Restrict, three: list[Any], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """It tells what is hidden from what is gone; and that of what is left, if there may be any."""
    open_ = [Article.objects.create(title="open"), Page.objects.create(title="open"), Topic.objects.create(slug="open")]
    restrict(no_secrets)
    with django_assert_num_queries(3):
        resolve(map(ref, open_), None)
    with django_assert_num_queries(3 + 1):
        resolve(map(ref, [*open_, *three]), None)
    left = buried("newsroom.article", "999999", "open")
    with django_assert_num_queries(3 + 1 + 1):
        found = resolve([*map(ref, [*open_, *three]), left, Ref("newsroom.page", str(uuid.uuid4()))], None)
    assert len(found) == 7 and str(found[left]) == "open"


def test_many_hidden_ones_are_told_in_pieces(
    restrict: Restrict, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    made = Article.objects.bulk_create(Article(title="secret") for _ in range(1100))
    restrict(no_secrets)
    with django_assert_num_queries(3 + 1):
        found = resolve(map(ref, made), None)
    assert len(found) == 1100 and all(isinstance(one, Hidden) for one in found.values())


def test_what_a_hidden_object_once_was_does_not_leak(restrict: Restrict) -> None:
    """Its description from before is nobody's business either; nor is that of a deleted object which was hidden."""
    again = buried("newsroom.topic", "a-secret", "once open")
    Topic.objects.create(slug="a-secret")
    gone = buried("newsroom.article", "999999", "a secret")
    restrict(no_secrets)
    found = resolve([again, gone], None)
    assert found.keys() == {again} and str(found[again]) == "topic"


def test_a_hook_that_raises_hides_everything_and_is_logged(
    restrict: Restrict, three: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A page stands, and shows nothing that it should not."""

    def broken(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows.filter(no_such_field=user)

    restrict(broken)
    with caplog.at_level(logging.ERROR, "footfall.resolving"):
        found = resolve([ref(three[0]), buried("newsroom.page", str(uuid.uuid4()))], None)
    assert [str(one) for one in found.values()] == ["article"]
    assert [record.getMessage() for record in caplog.records] == [
        f"VISIBLE_OBJECTS raised for {label}: none of them is shown."
        for label in ("newsroom.Article", "newsroom.Page", "footfall_storage.DeletedItem")
    ]
    restrict("no.such.module")
    assert str(resolve([ref(three[0])], None)[ref(three[0])]) == "article"


def test_what_the_database_says_is_not_the_hook_s_fault(restrict: Restrict, three: list[Any]) -> None:
    """An outage is one."""

    def cut_off(user: Any, rows: QuerySet[Any]) -> QuerySet[Any]:
        raise OperationalError("server closed the connection")

    restrict(cut_off)
    with pytest.raises(OperationalError):
        resolve(map(ref, three), None)


def test_a_hook_may_not_add_what_nobody_asked_for(restrict: Restrict, three: list[Any]) -> None:
    other = Article.objects.create(title="other")
    restrict(lambda user, rows: rows.model._base_manager.all())
    assert resolve([ref(three[0])], None) == {ref(three[0]): three[0]}
    assert ref(other) not in resolve([ref(three[0])], None)


def test_any_kind_of_key_can_be_hidden(
    restrict: Restrict, monkeypatch: pytest.MonkeyPatch, three: list[Any], django_assert_num_queries: Any
) -> None:
    """One that SQL can't write as Python does takes a query of its own."""
    with isolate_apps("newsroom"):

        class Issue(models.Model):
            day = models.DateField(primary_key=True)

            class Meta:
                app_label = "newsroom"
                db_table = Statistic._meta.db_table

            def __str__(self) -> str:
                return f"secret {self.day}"

    monkeypatch.setattr(resolving, "installed", lambda label: Issue if label == "newsroom.issue" else installed(label))
    Statistic.objects.create(label="l", day=date(2024, 5, 1))
    issue = Ref("newsroom.issue", "2024-05-01")
    assert str(resolve([issue])[issue]) == "secret 2024-05-01"
    restrict(lambda user, rows: rows.none())
    with django_assert_num_queries(1 + 1):
        found = resolve([*map(ref, three), issue, Ref("newsroom.issue", "2024-05-02")], None)
    assert [str(one) for one in found.values()] == ["article", "page", "topic", "issue"]
