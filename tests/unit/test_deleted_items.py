"""Deleted objects of connected models leave a `DeletedItem`: each one, however it is deleted, and only for good."""

from __future__ import annotations

import logging
import math
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ObjectDoesNotExist
from django.db import OperationalError, connection, connections, models, transaction
from django.db.models.deletion import Collector
from django.db.models.signals import post_delete, pre_delete
from django.test.utils import CaptureQueriesContext, isolate_apps
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from newsroom.models import Article, Column, Note, Page, Topic

from footfall.producers import publish_action
from footfall.producers.messages import Ref
from footfall.storage import connecting, forgetting, tombstones
from footfall.storage.actions import connect, get_del_item
from footfall.storage.deletion import Doomed, Taken
from footfall.storage.models import Action, DeletedItem, Tracker
from footfall.storage.tombstones import DelItemDescriptionWarning
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"deleteditem"}


@pytest.fixture(autouse=True)
def warned_before(monkeypatch: pytest.MonkeyPatch) -> set[type[models.Model]]:
    """That the newsroom's models don't describe themselves was said already: the set of what was."""
    warned: set[type[models.Model]] = {Article, Column, Note, Page, Topic, User}
    monkeypatch.setattr(tombstones, "_warned", warned)
    return warned


@pytest.fixture
def ada() -> User:
    return User.objects.create(username="ada")


@pytest.fixture
def log(django_capture_on_commit_callbacks: Any) -> Callable[..., Action]:
    """Log an action, and have a worker store it."""

    def logged(*args: Any, **kwargs: Any) -> Action:
        with django_capture_on_commit_callbacks(execute=True):
            pk = publish_action(*args, **kwargs)
        drain()
        return Action.objects.get(pk=pk)

    return logged


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let articles describe and serialise themselves by the functions given."""

    def describe(description: Callable[[Any], Any], serialization: Callable[[Any], Any] | None = None) -> None:
        monkeypatch.setattr(Article, "deleted_item_description", description, raising=False)
        if serialization is not None:
            monkeypatch.setattr(Article, "deleted_item_serialization", serialization, raising=False)

    return describe


@pytest.fixture
def remaining_notes() -> Iterator[None]:
    """For once, a deleted note leaves a description as well."""
    connect(Note)
    yield
    connect(Note, use_del_items=False)


@contextmanager
def receiver(signal: Any, sender: type[models.Model], act: Callable[..., None]) -> Iterator[None]:
    signal.connect(act, sender=sender, weak=False)
    try:
        yield
    finally:
        signal.disconnect(act, sender=sender)


def left() -> dict[Ref, str]:
    return {one.footfall_ref: one.description for one in DeletedItem.objects.all()}


def ref(obj: models.Model) -> Ref:
    return Ref((obj._meta.concrete_model or type(obj))._meta.label_lower, str(obj.pk))


# -- However it is deleted


@pytest.mark.parametrize("role", ["actor", "target", "related"])
@pytest.mark.parametrize("make", [lambda: Article.objects.create(title="x"), lambda: Page.objects.create(title="x")])
def test_ac_05_a_deleted_object_leaves_its_description_to_its_actions(
    role: str, make: Callable[[], models.Model], ada: User, log: Callable[..., Action]
) -> None:
    """One, whatever it was to them; the actions stay and show it."""
    thing, other = make(), Topic.objects.create(slug="other")
    actor, targets, related = {
        "actor": (thing, other, ()),
        "target": (ada, [thing, other], ()),
        "related": (ada, other, thing),
    }[role]
    actions = [log(actor, verb, targets, related) for verb in ("praised", "moved")]
    gone = ref(thing)
    thing.delete()

    item = DeletedItem.objects.get()
    assert (item.footfall_ref, item.description, item.serialization) == (gone, "x", {"pk": gone.id})
    for action in Action.objects.filter(pk__in=[one.pk for one in actions]):
        shown = {"actor": [action.actor], "target": action.targets[:1], "related": action.related}[role]
        assert shown == [item]


def test_ac_05_trackers_stay_with_what_is_left(ada: User) -> None:
    article = Article.objects.create(title="x")
    tracker = Tracker.objects.create(user=ada, tracked_type="newsroom.article", tracked_id=str(article.pk))
    before = Tracker.objects.values().get()
    article.delete()

    assert Tracker.objects.values().get() == before and tracker.tracked_id == DeletedItem.objects.get().object_id


@pytest.mark.parametrize("model", [Article, Column])
@pytest.mark.parametrize("how", ["object", "queryset", "collector"])
def test_ac_06_ac_54_also_a_queryset_and_a_proxy(model: type[Article], how: str) -> None:
    """The same Ref in any case: that of the concrete model."""
    gone, stays = (Article.objects.create(title=title) for title in ("gone", "stays"))
    expected = {ref(gone): "gone"}
    rows = model._default_manager.exclude(pk=stays.pk)
    if how == "object":
        rows.get().delete()
    elif how == "queryset":
        rows.delete()
    else:
        collector = Collector(using="default")
        collector.collect(rows)
        collector.delete()

    assert left() == expected


@pytest.mark.parametrize("how", ["object", "queryset"])
@pytest.mark.usefixtures("remaining_notes")
def test_ac_07_also_what_a_cascade_deletes(how: str) -> None:
    article = Article.objects.create(title="article")
    expected = {ref(article): "article"}
    expected |= {ref(Note.objects.create(title=f"n{n}", article=article)): f"n{n}" for n in range(3)}
    if how == "object":
        article.delete()
    else:
        Article.objects.all().delete()

    assert left() == expected


@isolate_apps("newsroom")
def test_ac_07_parents_and_children_each_under_their_own_name() -> None:
    """A child is connected as its parent is."""

    class Essay(models.Model):
        title = models.CharField(max_length=9)

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return self.title

        def deleted_item_description(self) -> str:
            return f"{self._meta.model_name} {self.title}"

    class Report(Essay):
        story = models.OneToOneField(Essay, models.CASCADE, parent_link=True)

        class Meta:
            app_label = "newsroom"

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE newsroom_essay (id bigint PRIMARY KEY, title varchar(9))")
        cursor.execute("CREATE TABLE newsroom_report (story_id bigint PRIMARY KEY)")
    connect(Essay)
    classes: list[type[models.Model]] = [Essay, Report]
    for model in classes:
        forgetting.listen_to(model)
    try:
        for pk in (1, 2):
            Report._default_manager.create(pk=pk, id=pk, title=f"t{pk}")
        Essay._default_manager.get(pk=1).delete()
        Report._default_manager.get(pk=2).delete(keep_parents=True)
    finally:
        connecting._connections.pop(Essay)

    assert left() == {
        Ref("newsroom.essay", "1"): "essay t1",
        Ref("newsroom.report", "1"): "report t1",
        Ref("newsroom.report", "2"): "report t2",
    }


def test_connected_models_and_their_proxies_are_listened_to_whatever_is_marked() -> None:
    """And told once, however often that is said."""
    for model in (Article, Column):
        pre_delete.disconnect(sender=model, dispatch_uid="footfall_gather")
        post_delete.disconnect(sender=model, dispatch_uid="footfall_follow")
        assert not pre_delete.has_listeners(model)
    for _ in range(2):
        forgetting.connect([])
    for model in (Article, Column):
        assert len(pre_delete._live_receivers(model)[0]) == len(post_delete._live_receivers(model)[0]) == 1


def test_an_object_that_nobody_connected_leaves_nothing() -> None:
    Group.objects.create(name="g").delete()
    assert left() == {}


def test_of_an_object_that_was_never_read_the_stored_one_is_described() -> None:
    """Deleted by an instance that was made by hand with just its key, or that of which only the key was loaded."""
    made = [Article.objects.create(title=f"a{n}") for n in range(2)]
    expected = {ref(one): one.title for one in made}
    Article(pk=str(made[0].pk)).delete()
    Article.objects.only("pk").delete()

    assert left() == expected


def test_a_blank_key_leaves_nothing() -> None:
    """It would stand for the whole model."""
    Topic.objects.create(slug="").delete()
    assert left() == {}


def test_what_is_deleted_twice_is_described_as_it_was_last() -> None:
    """With the key of one that was deleted before, and deleted once more by a handler of its deletion."""
    Topic.objects.create(slug="t")
    Topic.objects.all().delete()
    long_ago = timezone.now() - timedelta(days=9)
    DeletedItem.objects.update(description="before", serialization={"old": True}, deleted_at=long_ago)
    topic = Topic.objects.create(slug="t")
    calls: list[object] = []

    def delete_it_first(**kwargs: Any) -> None:
        calls.append(kwargs)
        if len(calls) == 1:
            Topic.objects.filter(slug="t").delete()

    with receiver(pre_delete, Topic, delete_it_first):
        topic.delete()

    item = DeletedItem.objects.get()
    assert (item.description, item.serialization) == ("t", {"pk": "t"}) and item.deleted_at > long_ago


@pytest.mark.parametrize("many", [10, 100, 1000])
def test_ac_54_a_thousand_are_written_by_a_handful_of_statements(many: int) -> None:
    """One for 500."""
    Article.objects.bulk_create(Article(title=f"a{n}") for n in range(many))
    with CaptureQueriesContext(connection) as queries:
        Article.objects.all().delete()

    assert sum("footfall_storage_deleteditem" in query["sql"] for query in queries) == math.ceil(many / 500)
    assert not any("newsroom_article" in query["sql"] and "LIMIT" in query["sql"] for query in queries)
    assert DeletedItem.objects.count() == many
    assert set(DeletedItem.objects.values_list("description", flat=True)) == {f"a{n}" for n in range(many)}


# -- What it says


def test_a_model_says_what_is_left_of_its_objects(described: Callable[..., None], ada: User) -> None:
    """Asked while the object is whole, with all that goes with it; of any length."""
    article = Article.objects.create(title="x" * 100)
    Note.objects.create(title="n", article=article)

    def describe(one: Article) -> str:
        return f"{one.title * 1000} with {one.note_set.get().title}"

    described(describe, lambda one: {"title": one.title, "tags": ("a", 1, None, 2.5), 3: [{"é": True}]})
    article.delete()

    item = DeletedItem.objects.get()
    assert item.description == "x" * 100_000 + " with n" == str(item)
    assert item.serialization == {"title": "x" * 100, "tags": ["a", 1, None, 2.5], "3": [{"é": True}]}


def test_times_numbers_and_keys_are_kept_as_texts(described: Callable[..., None]) -> None:
    """What is no JSON, but has one way to be written."""
    at = datetime(2024, 6, 15, 12, tzinfo=UTC)
    kept = {"at": at, "on": at.date(), "price": Decimal("1.50"), "key": uuid.UUID(int=7), "word": gettext_lazy("Yes")}
    described(lambda one: one.title, lambda one: kept)
    Article.objects.create(title="x").delete()
    assert DeletedItem.objects.get().serialization == {
        "at": "2024-06-15T12:00:00Z",
        "on": "2024-06-15",
        "price": "1.50",
        "key": "00000000-0000-0000-0000-000000000007",
        "word": "Yes",
    }


def test_a_model_may_keep_nothing(described: Callable[..., None]) -> None:
    described(lambda one: "", lambda one: None)
    Article.objects.create(title="secret").delete()
    assert DeletedItem.objects.values_list("description", "serialization").get() == ("", {})


def test_a_description_may_be_translated_lazily_and_hold_any_character(described: Callable[..., None]) -> None:
    """But for what no column can hold."""
    texts = iter([gettext_lazy("Yes"), "a\0b\ud800c", "<b>“é”</b>"])
    described(lambda one: next(texts))
    for _ in range(3):
        Article.objects.create(title="x").delete()
    assert set(left().values()) == {"Yes", "ab?c", "<b>“é”</b>"}


def test_an_object_whose_text_is_empty_is_described_by_its_key() -> None:
    article = Article.objects.create(title="")
    gone = ref(article)
    article.delete()
    assert left() == {gone: f"article {gone.id}"}


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(lambda one: one.nothing_of_that_name, id="a fault"),
        pytest.param(lambda one: Topic.objects.get(slug="no such"), id="a missing row"),
        pytest.param(lambda one: b"bytes", id="no text and no JSON"),
        pytest.param(lambda one: {"at": object()}, id="not JSON"),
        pytest.param(lambda one: math.nan, id="no JSON number"),
        pytest.param(lambda one: ["\0"], id="a text that no column holds"),
        pytest.param(lambda one: 2**70, id="no number of a database"),
    ],
)
def test_what_raises_or_can_t_be_stored_is_logged_and_does_not_stop_the_deletion(
    fault: Callable[[Any], Any], described: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """The object is known by its key then; the others of the same deletion are as they say."""
    bad, good = Article.objects.create(title="bad"), Article.objects.create(title="good")
    keys = bad.pk, good.pk
    described(*(lambda one: fault(one) if one.title == "bad" else one.title for _ in range(2)))
    Article.objects.all().delete()

    assert left() == {
        Ref("newsroom.article", str(keys[0])): f"article {keys[0]}",
        Ref("newsroom.article", str(keys[1])): "good",
    }
    assert [one.serialization for one in DeletedItem.objects.order_by("object_id")] == [{"pk": str(keys[0])}, "good"]
    assert [
        (record.name, record.levelno, record.getMessage().split("()")[0], record.exc_info is not None)
        for record in caplog.records
    ] == [
        ("footfall.tombstones", logging.ERROR, f"newsroom.Article.deleted_item_{name}", True)
        for name in ("description", "serialization")
    ]


def test_what_the_database_raises_stops_the_deletion(described: Callable[..., None]) -> None:
    """The transaction is lost with it."""

    def fail(one: Article) -> str:
        raise OperationalError("the server is gone")

    described(fail)
    article = Article.objects.create(title="x")
    with pytest.raises(OperationalError), transaction.atomic():
        article.delete()
    assert Article.objects.exists() and left() == {}


def test_a_model_that_does_not_describe_itself_is_warned_of_once(warned_before: set[type[models.Model]]) -> None:
    warned_before.clear()
    for n in range(2):
        Topic.objects.create(slug=f"t{n}")
    with pytest.warns(DelItemDescriptionWarning, match=r"newsroom\.Topic has no deleted_item_description") as caught:
        Topic.objects.all().delete()
    assert len(caught) == 1
    assert set(left().values()) == {"t0", "t1"}

    with warnings.catch_warnings(record=True) as again:
        Topic.objects.create(slug="t2").delete()
    assert again == []


def test_no_deletion_fails_where_warnings_are_errors(
    warned_before: set[type[models.Model]], caplog: pytest.LogCaptureFixture
) -> None:
    """Then it is logged."""
    warned_before.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Topic.objects.create(slug="t").delete()

    assert set(left().values()) == {"t"}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "newsroom.Topic has no deleted_item_description()"
    ]


def test_a_model_that_describes_itself_is_not_warned_of(
    warned_before: set[type[models.Model]], described: Callable[..., None]
) -> None:
    warned_before.clear()
    described(lambda one: one.title)
    Article.objects.create(title="x").delete()
    assert set(left().values()) == {"x"}


# -- What is rolled back


def test_a_deletion_that_is_rolled_back_leaves_nothing() -> None:
    """Nor does one under an inner savepoint; and the next deletion finds nothing of it."""
    made = [Article.objects.create(title=f"a{n}") for n in range(3)]
    keys = [one.pk for one in made]
    with pytest.raises(RuntimeError), transaction.atomic():
        made[0].delete()
        assert set(left().values()) == {"a0"}
        raise RuntimeError
    with transaction.atomic():
        with pytest.raises(ObjectDoesNotExist), transaction.atomic():
            made[1].delete()
            Article.objects.get(pk=keys[1])
        Article.objects.get(pk=keys[2]).delete()

    assert set(left().values()) == {"a2"}
    assert set(Article.objects.values_list("pk", flat=True)) == set(keys[:2])
    for one in made[:2]:
        with pytest.raises(LookupError):
            get_del_item(one)


def test_what_fails_half_way_leaves_nothing() -> None:
    made = [Article.objects.create(title=f"a{n}") for n in range(2)]

    def fail(instance: models.Model, **kwargs: Any) -> None:
        if instance.pk == made[1].pk:
            raise RuntimeError

    with receiver(pre_delete, Article, fail), pytest.raises(RuntimeError), transaction.atomic():
        Article.objects.all().delete()
    Topic.objects.create(slug="t").delete()

    assert set(left()) == {Ref("newsroom.topic", "t")}


def test_what_a_failed_deletion_within_it_had_seen_to_is_seen_to_again() -> None:
    """A handler deletes something else, under a savepoint that is rolled back, or is not."""
    made = {word: (Article.objects.create(title=word), Topic.objects.create(slug=word)) for word in ("fails", "works")}

    def delete_the_topic(instance: Article, **kwargs: Any) -> None:
        with suppress(RuntimeError), transaction.atomic():
            made[instance.title][1].delete()
            if instance.title == "fails":
                raise RuntimeError

    keys = {word: str(article.pk) for word, (article, _) in made.items()}
    with receiver(pre_delete, Article, delete_the_topic), transaction.atomic():
        Article.objects.all().delete()
        assert not any(isinstance(hook[1], (Doomed, Taken)) for hook in connection.run_on_commit)

    assert left() == {
        Ref("newsroom.article", keys["fails"]): "fails",
        Ref("newsroom.article", keys["works"]): "works",
        Ref("newsroom.topic", "works"): "works",
    }
    assert Topic.objects.get().slug == "fails"


def test_what_was_seen_to_within_another_deletion_is_not_seen_to_twice() -> None:
    article, topic = Article.objects.create(title="a"), Topic.objects.create(slug="t")

    def delete_the_topic(**kwargs: Any) -> None:
        with transaction.atomic():
            topic.delete()

    with CaptureQueriesContext(connection) as queries, receiver(pre_delete, Article, delete_the_topic):
        article.delete()

    assert sum('INSERT INTO "footfall_storage_deleteditem"' in query["sql"] for query in queries) == 1
    assert set(left().values()) == {"a", "t"}


# -- get_del_item


def test_ac_52_what_is_deleted_after_it_was_logged_is_shown_by_what_is_left(
    ada: User, django_capture_on_commit_callbacks: Any
) -> None:
    """In the same request, before any worker stored the action."""
    article = Article.objects.create(title="x")
    with django_capture_on_commit_callbacks(execute=True):
        publish_action(ada, "praised", article)
        article.delete()
    drain()

    assert Action.objects.get().targets == [DeletedItem.objects.get()]


def test_ac_52_a_deleted_object_is_logged_by_what_is_left_of_it(ada: User, log: Callable[..., Action]) -> None:
    """As target, as actor, and of a user, too; itself it is refused with the way out."""
    article = Article.objects.create(title="x")
    article.delete()
    ada.delete()

    for actor, target in ((None, article), (ada, ())):
        with pytest.raises(ValueError, match="get_del_item"):
            publish_action(actor, "deleted", target)
    action = log(get_del_item(ada), "deleted", get_del_item(article))
    assert (str(action.actor), [str(one) for one in action.targets]) == ("ada", ["x"])


def test_get_del_item_of_the_deleted_instance(ada: User) -> None:
    """Before the commit; by one query."""
    page = Page.objects.create(id=uuid.UUID(int=1), title="x")
    page.delete()
    with CaptureQueriesContext(connection) as queries:
        item = get_del_item(page)
    assert (item, len(queries)) == (DeletedItem.objects.get(), 1)
    assert item.footfall_ref == Ref("newsroom.page", str(uuid.UUID(int=1)))


def test_get_del_item_of_another_instance() -> None:
    """Which still has its key; also as a proxy."""
    article = Article.objects.create(title="x")
    column = Column.objects.get(pk=article.pk)
    Article.objects.all().delete()
    assert get_del_item(article) == get_del_item(column) == DeletedItem.objects.get()


def test_get_del_item_of_a_lazy_object(ada: User) -> None:
    """As ``request.user`` is one."""
    lazy, same = (SimpleLazyObject(lambda: User.objects.get(username="ada")) for _ in range(2))
    assert lazy.username == same.username == "ada"
    lazy.delete()
    assert get_del_item(lazy) == get_del_item(same) == DeletedItem.objects.get()


def test_an_object_that_exists_has_no_del_item() -> None:
    """Though one of the same key, or it itself before it was saved again, has left one."""
    Topic.objects.create(slug="t").delete()
    topic = Topic.objects.create(slug="t")
    article = Article.objects.create(title="x")
    article.delete()
    article.save()
    for one in (topic, article):
        with pytest.raises(LookupError, match=r"left no DeletedItem: it still exists"):
            get_del_item(one)


def test_what_left_nothing_has_no_del_item() -> None:
    group, note, unsaved = Group.objects.create(name="g"), Note.objects.create(title="n"), Article(title="x")
    group.delete()
    note.delete()
    for one in (group, note, unsaved, Page(title="x")):
        with pytest.raises(LookupError, match=r"has left no DeletedItem"):
            get_del_item(one)
    for what in (Article, "newsroom.article", None):
        with pytest.raises(TypeError, match="is not a model instance"):
            get_del_item(what)


# -- In another database


def test_what_is_kept_elsewhere_is_written_after_the_commit(
    archive: str, transactional_db: None, warned_before: set[type[models.Model]]
) -> None:
    """Until then the deleted instance itself says what is left of it; after a rollback, nothing does."""
    made = [Article.objects.create(title=f"a{n}") for n in range(2)]
    with pytest.raises(RuntimeError), transaction.atomic():
        made[0].delete()
        raise RuntimeError
    with transaction.atomic():
        made[1].delete()
        assert not DeletedItem.objects.exists()
        pending = get_del_item(made[1])
        assert pending._state.adding and (str(pending), pending.footfall_ref.type) == ("a1", "newsroom.article")

    assert get_del_item(made[1]) == DeletedItem.objects.using(archive).get()
    assert not DeletedItem.objects.using("default").exists()
    with pytest.raises(LookupError):
        get_del_item(made[0])


def test_what_can_t_be_written_elsewhere_fails_nobody_s_page(
    archive: str, transactional_db: None, caplog: pytest.LogCaptureFixture
) -> None:
    """The object is gone, and the log says what went wrong."""
    with connections[archive].cursor() as cursor:
        cursor.execute("DROP TABLE footfall_storage_deleteditem")
    Article.objects.create(title="x").delete()

    assert not Article.objects.exists()
    assert [record.name for record in caplog.records if record.levelno == logging.ERROR] == ["django.db.backends.base"]
