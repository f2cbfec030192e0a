"""Deleted users and objects take their marks along: all of them, none else, and never before it is certain."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections, models, transaction
from django.db.models.deletion import Collector, ProtectedError
from django.db.models.signals import post_delete, pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.urls import reverse
from newsroom.models import Article, ArticleTotals, Column, Page, Topic
from storedactions import store

from footfall.producers.messages import Ref
from footfall.storage import forgetting
from footfall.storage.forgetting import listen_to, marked_models
from footfall.storage.marks import raise_marks
from footfall.storage.models import Action, ViewMark
from footfall.storage.purging import delete_marks
from footfall.storage.viewtracker import ViewTracker

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture
def readers() -> list[User]:
    return [User.objects.create(username=f"reader{n}") for n in range(2)]


@pytest.fixture
def articles(readers: list[User]) -> list[Article]:
    """Three, each seen by both readers."""
    made = [Article.objects.create(title=f"a{n}") for n in range(3)]
    for reader in readers:
        ViewTracker(reader).mark_viewed(made)
    return made


def marked() -> set[str]:
    return set(ViewMark.objects.values_list("object_id", flat=True))


@contextmanager
def receiver(signal: Any, sender: type[models.Model], act: Callable[..., None]) -> Iterator[None]:
    signal.connect(act, sender=sender, weak=False)
    try:
        yield
    finally:
        signal.disconnect(act, sender=sender)


@pytest.mark.parametrize("how", ["object", "queryset"])
def test_vt_20_a_deleted_user_s_marks_go(readers: list[User], articles: list[Article], how: str) -> None:
    """Those of the user, and those that others have on the user; no one else's."""
    gone, stays = readers
    ViewTracker(stays).mark_instance_viewed(gone)
    ViewTracker(gone).mark_all_viewed()
    if how == "object":
        gone.delete()
    else:
        User.objects.filter(pk=gone.pk).delete()

    assert set(ViewMark.objects.values_list("user_id", "object_type")) == {(stays.pk, "newsroom.article")}


@pytest.mark.parametrize("model", [Article, Column])
@pytest.mark.parametrize("how", ["object", "queryset", "collector"])
def test_vt_20_a_deleted_object_s_marks_go(
    readers: list[User], articles: list[Article], how: str, model: type[Article]
) -> None:
    """Everybody's, also through a proxy, and where nobody says what the deletion began with."""
    gone, *stay = articles
    Topic.objects.create(slug=str(gone.pk))
    ViewTracker(readers[0]).mark_viewed(Topic.objects.all())
    ViewTracker(readers[1]).mark_model_viewed(Page)
    rows = model._default_manager.filter(pk=gone.pk)
    if how == "object":
        rows.get().delete()
    elif how == "queryset":
        rows.delete()
    else:
        collector = Collector(using="default")
        collector.collect(rows)
        collector.delete()

    assert not ViewMark.objects.filter(object_type="newsroom.article", object_id=str(gone.pk)).exists()
    assert ViewMark.objects.filter(object_type="newsroom.article").count() == 2 * len(stay)
    assert ViewMark.objects.filter(object_type="newsroom.topic").count() == 1
    assert ViewMark.objects.filter(object_type="newsroom.page", object_id="").count() == 1


def test_vt_20_any_primary_key(readers: list[User]) -> None:
    for thing in (Page.objects.create(title="p"), Topic.objects.create(slug="café")):
        ViewTracker(readers[0]).mark_unseen(thing)
        thing.delete()
    assert not ViewMark.objects.exists()


@pytest.mark.parametrize("how", ["object", "queryset", "admin"])
def test_vt_20_a_deleted_action_s_marks_go(readers: list[User], how: str, admin_client: Client) -> None:
    """Everybody's, and no other's: that it was read, and that it was marked as unread."""
    gone, stays = (store(readers[0], "wrote") for _ in range(2))
    for action in (gone, stays):
        action.mark_read_for(readers[0])
        action.mark_unread_for(readers[1])
    ViewTracker(readers[0]).mark_model_viewed(Action)
    raise_marks({(readers[0].pk, "newsroom.page", str(gone.pk)): NOW}, "default")
    key = str(gone.pk)
    if how == "object":
        gone.delete()
    elif how == "queryset":
        Action.objects.filter(pk=gone.pk).delete()
    else:
        url = reverse("admin:footfall_storage_action_changelist")
        admin_client.post(url, {"action": "delete_selected", "_selected_action": key, "post": "yes"})

    assert set(Action.objects.all()) == {stays}
    assert set(ViewMark.objects.values_list("user_id", "object_type", "object_id")) == {
        (readers[0].pk, "footfall_storage.action", ""),
        (readers[1].pk, "footfall_storage.action", str(stays.pk)),
        (readers[0].pk, "newsroom.page", key),
    }


def test_a_deletion_of_1000_costs_a_handful_of_statements(readers: list[User]) -> None:
    """One for 500 objects, or fewer."""
    Article.objects.bulk_create(Article(title="a") for _ in range(1001))
    ViewTracker(readers[0]).mark_viewed(Article)
    with CaptureQueriesContext(connection) as queries:
        Article.objects.all().delete()

    assert sum("footfall_storage_viewmark" in query["sql"] for query in queries) <= 3
    assert not ViewMark.objects.exists()


def test_where_rows_are_locked_marks_on_several_models_go_at_once(readers: list[User], articles: list[Article]) -> None:
    """In the order in which workers write them: or a deletion and a worker would wait for each other."""
    topics = [Topic.objects.create(slug=str(n)) for n in range(2)]
    ViewTracker(readers[0]).mark_viewed(topics)
    doomed = [
        *(Ref("newsroom.article", str(one.pk)) for one in articles),
        *(Ref("newsroom.topic", one.slug) for one in topics),
    ]
    with CaptureQueriesContext(connection) as queries:
        delete_marks(doomed, "default")

    deletions = [query["sql"] for query in queries if query["sql"].startswith("DELETE")]
    assert len(deletions) == (1 if connection.features.has_select_for_update else 2)
    assert all("ORDER BY" in sql and '"user_id" ASC' in sql for sql in deletions)
    assert marked() == set()


def test_a_deletion_that_fails_takes_no_mark_along(articles: list[Article]) -> None:
    """Neither then, nor with the next deletion that succeeds, of the same queryset or of others."""
    rows = Article.objects.filter(pk__in=[articles[0].pk, articles[1].pk])

    def fail(instance: models.Model, **kwargs: Any) -> None:
        if instance.pk == articles[1].pk:
            raise RuntimeError("not this one")

    for signal in (pre_delete, post_delete):
        with receiver(signal, Article, fail), pytest.raises(RuntimeError), transaction.atomic():
            rows.delete()
        assert len(marked()) == 3
    articles[2].delete()
    assert marked() == {str(articles[0].pk), str(articles[1].pk)}

    Article.objects.filter(pk=articles[0].pk).update(title="kept")
    rows.exclude(title="kept").delete()
    assert marked() == {str(articles[0].pk)}
    rows.delete()
    assert marked() == set()


def test_a_deletion_that_is_rolled_back_gives_the_marks_back(articles: list[Article]) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        articles[0].delete()
        assert len(marked()) == 2
        raise RuntimeError
    assert len(marked()) == 3


def test_what_fails_within_another_deletion_is_not_taken_for_deleted(articles: list[Article]) -> None:
    """A handler tries to delete something else, and gets over it that this can't be."""
    topic = Topic.objects.create(slug="held")
    ViewTracker(User.objects.all()[0]).mark_instance_viewed(topic)

    def try_the_topic(**kwargs: Any) -> None:
        with pytest.raises(ProtectedError), transaction.atomic():
            topic.delete()

    def refuse(**kwargs: Any) -> None:
        raise ProtectedError("held", set())

    with receiver(pre_delete, Article, try_the_topic), receiver(pre_delete, Topic, refuse):
        Article.objects.filter(pk__in=[articles[0].pk, articles[1].pk]).delete()

    assert marked() == {"held", str(articles[2].pk)}


def test_a_deletion_within_another_is_whole(articles: list[Article]) -> None:
    """A handler deletes what belongs to the object."""
    Topic.objects.create(slug="t")
    ViewTracker(User.objects.all()[0]).mark_viewed(Topic.objects.all())

    def delete_topics(**kwargs: Any) -> None:
        Topic.objects.all().delete()

    for signal in (pre_delete, post_delete):
        with receiver(signal, Article, delete_topics):
            Article.objects.order_by("pk")[0].delete()
        assert "t" not in marked()
    assert marked() == {str(articles[2].pk)}


def test_nothing_of_it_is_left_among_the_commit_hooks(
    articles: list[Article], django_capture_on_commit_callbacks: Any
) -> None:
    """And the hooks of others stay, in their order."""
    ran: list[int] = []
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        transaction.on_commit(lambda: ran.append(1))
        Article.objects.all().delete()
        transaction.on_commit(lambda: ran.append(2))
    assert len(callbacks) == 2 and ran == [1, 2]


@isolate_apps("newsroom")
def test_parents_children_and_what_cascades_take_their_own_marks_along(readers: list[User]) -> None:
    """Each under the label of its own model."""

    class Essay(models.Model):
        title = models.CharField(max_length=9)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return self.title

    class Report(Essay):
        story = models.OneToOneField(Essay, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "newsroom"

    class Remark(models.Model):
        story = models.ForeignKey(Essay, models.CASCADE)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return ""

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE newsroom_essay (id bigint PRIMARY KEY, title varchar(9))")
        cursor.execute("CREATE TABLE newsroom_report (story_id bigint PRIMARY KEY)")
        cursor.execute("CREATE TABLE newsroom_remark (id bigint PRIMARY KEY, story_id bigint)")
    classes: list[type[models.Model]] = [Essay, Report, Remark]
    for model in classes:
        listen_to(model)

    def fill() -> None:
        for pk in (1, 2):
            Report._default_manager.create(pk=pk, id=pk, title="t")
            Remark._default_manager.create(pk=pk, story_id=pk)
        for model in classes:
            ViewTracker(readers[0]).mark_viewed(model._default_manager.all())

    def left() -> set[tuple[str, str]]:
        return set(ViewMark.objects.values_list("object_type", "object_id"))

    try:
        expected = {(f"newsroom.{name}", "2") for name in ("essay", "report", "remark")}
        fill()
        Essay._default_manager.get(pk=1).delete()
        assert left() == expected
        Essay._default_manager.all().delete()
        fill()
        Report._default_manager.filter(pk=1).delete()
        assert left() == expected
    finally:
        for model in classes:
            pre_delete.disconnect(sender=model, dispatch_uid="footfall_gather")
            post_delete.disconnect(sender=model, dispatch_uid="footfall_follow")


class MarksElsewhere:
    """The marks are kept in a database of their own."""

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "marks" if model is ViewMark else None

    db_for_read = db_for_write


@pytest.fixture
def marks_elsewhere(db: None, settings: Any, tmp_path: Path) -> Iterator[str]:
    """A second database, with just the table of marks, that `MarksElsewhere` routes to. It is gone after the test."""
    path = tmp_path / "marks.sqlite3"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(
            "CREATE TABLE footfall_storage_viewmark (id integer PRIMARY KEY, user_id integer, object_type text,"
            " object_id text, at datetime, seen bool, UNIQUE (user_id, object_type, object_id))"
        )
    connections.settings["marks"] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {},
    }
    # At once: Django's TestCase forbids to connect later to a database that was not there when it began.
    connections["marks"].connect()
    settings.DATABASE_ROUTERS = [MarksElsewhere()]
    yield "marks"
    settings.DATABASE_ROUTERS = []
    connections["marks"].close()
    del connections["marks"]
    del connections.settings["marks"]


def test_marks_in_another_database_go_when_the_deletion_is_committed(
    marks_elsewhere: str, django_capture_on_commit_callbacks: Any
) -> None:
    """Not before, nor when it is rolled back."""
    made = [Article.objects.create(title="a") for _ in range(3)]
    keys = [str(one.pk) for one in made]
    raise_marks({(1, "newsroom.article", key): NOW for key in keys}, marks_elsewhere)

    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(RuntimeError), transaction.atomic():
            made[0].delete()
            raise RuntimeError
        Article.objects.filter(pk=made[1].pk).delete()
        assert marked() == set(keys)
    assert marked() == {keys[0], keys[2]}


def test_vt_20_a_user_s_marks_in_another_database_go_too(
    marks_elsewhere: str, django_capture_on_commit_callbacks: Any, readers: list[User]
) -> None:
    """And are not looked for where the user is: there may be no table of marks."""
    raise_marks({(reader.pk, "", ""): NOW for reader in readers}, marks_elsewhere)

    with CaptureQueriesContext(connection) as queries, django_capture_on_commit_callbacks(execute=True):
        readers[0].delete()

    assert not any("viewmark" in query["sql"] for query in queries)
    assert set(ViewMark.objects.values_list("user_id", flat=True)) == {readers[1].pk}


def test_a_blank_key_is_not_taken_for_the_whole_model(readers: list[User]) -> None:
    topic = Topic.objects.create(slug="")
    ViewTracker(readers[0]).mark_model_viewed(Topic)
    topic.delete()
    assert ViewMark.objects.count() == 1


def test_an_object_that_was_never_read_is_deleted_with_its_marks(articles: list[Article]) -> None:
    """By an instance that only has its key."""
    Article(pk=articles[0].pk).delete()
    assert marked() == {str(one.pk) for one in articles[1:]}


def test_a_user_is_deleted_in_the_admin_whatever_was_seen(
    readers: list[User], articles: list[Article], admin_client: Client
) -> None:
    """The page that asks for confirmation does not list the marks."""
    url = reverse("admin:auth_user_delete", args=[readers[0].pk])
    assert "mark" not in admin_client.get(url).content.decode().lower()
    admin_client.post(url, {"post": "yes"})
    assert set(ViewMark.objects.values_list("user_id", flat=True)) == {readers[1].pk}


def test_all_of_the_site_s_models_are_listened_to() -> None:
    """Not those whose objects nobody looks at, nor what Footfall and its datasets keep."""
    models_ = set(marked_models(None))

    assert models_ >= {Article, Column, Page, Topic, User, Group}
    assert not models_ & {LogEntry, ContentType, Session, Permission, Action, ViewMark, ArticleTotals}
    assert all(pre_delete.has_listeners(model) for model in models_)
    assert not pre_delete.has_listeners(ViewMark) and not pre_delete.has_listeners(ArticleTotals)


def test_only_the_models_that_are_listed_are_listened_to() -> None:
    """With their proxies. And users, whose own marks go."""
    assert set(marked_models(["newsroom.Article"])) == {Article, Column, User}
    assert set(marked_models(["newsroom.column", "auth.User"])) == {Article, Column, User}
    assert marked_models([]) == [User]


@pytest.mark.parametrize("label", ["newsroom.Artcle", "Article", "", "newsroom"])
def test_a_listed_model_that_is_not_installed_is_named(label: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"MARKED_MODELS.*There is no installed model {label!r}"):
        forgetting.connect([label])


def test_the_near_label_is_said() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"Did you mean newsroom\.Article\?"):
        marked_models(["newsroom.Artcle"])
    with pytest.raises(ImproperlyConfigured, match="is a list of labels"):
        marked_models("newsroom.Article")
