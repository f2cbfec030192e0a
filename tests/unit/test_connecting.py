"""`connect`: which models have actions and trackers, and under which names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.checks.registry import registry
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.signals import pre_delete
from django.test.utils import isolate_apps
from newsroom.models import Article, ArticleTotals, Column, Note, Page

from footfall.storage import checks, connecting
from footfall.storage.accessors import ActionsAccessor, ObjectActions, ObjectTrackers, TrackersAccessor
from footfall.storage.actions import connect
from footfall.storage.connecting import Connection, connected_models, connection_of


@pytest.fixture(autouse=True)
def _undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test connects is forgotten after it."""
    monkeypatch.setattr(connecting, "_connections", dict(connecting._connections))
    with isolate_apps("newsroom"):
        yield


def model(name: str, *bases: type[models.Model], **attributes: Any) -> Any:
    meta = type("Meta", (), {"app_label": "newsroom", **attributes.pop("meta", {})})
    return type(name, bases or (models.Model,), {"__module__": __name__, "Meta": meta, **attributes})


def test_ac_10_connect_is_a_function_and_a_decorator_with_and_without_brackets() -> None:
    """It returns the model, whose objects have actions and trackers then."""
    plain = model("Plain")
    for call, use_del_items in (
        (connect, True),
        (partial(connect, use_del_items=False), False),
        (connect(use_del_items=False), False),
        (connect(), True),
    ):
        assert call(plain) is plain
        assert isinstance(plain().actions, ObjectActions)
        assert isinstance(plain().trackers, ObjectTrackers)
        assert connection_of(plain) == Connection(use_del_items=use_del_items)


def test_ac_10_an_abstract_model_is_refused() -> None:
    """It has no objects."""
    base = model("Base", meta={"abstract": True})
    with pytest.raises(AssertionError, match="abstract"):
        connect(base)
    with pytest.raises(AssertionError, match="abstract"):
        connect(use_del_items=False)(base)


@pytest.mark.parametrize("thing", ["newsroom.Article", 7, int, Article(title="one")])
def test_what_is_no_model_is_refused(thing: Any) -> None:
    """A label, an object."""
    with pytest.raises(TypeError, match="model class"):
        connect(thing)


def test_connecting_twice_the_last_word_counts() -> None:
    """And is no error."""
    plain = model("Plain")
    connect(plain, use_del_items=False)
    connect(plain)
    assert connection_of(plain) == Connection(use_del_items=True)


def test_what_inherits_is_connected_too() -> None:
    """A proxy, a child with a table of its own; the nearest word counts."""
    parent = model("Parent")
    proxy = model("Proxy", parent, meta={"proxy": True})
    child = model("Child", parent)
    grandchild = model("Grandchild", child)
    connect(parent, use_del_items=False)
    for one in (proxy, child, grandchild):
        assert connection_of(one) == Connection(use_del_items=False)
        assert isinstance(one().actions, ObjectActions)
    connect(child)
    kept, gone = Connection(use_del_items=True), Connection(use_del_items=False)
    assert [connection_of(one) for one in (parent, proxy, child, grandchild)] == [gone, gone, kept, kept]


def test_what_is_connected_as_a_proxy_is_its_concrete_model() -> None:
    """Its objects are the same; what they are called is up to the class that was connected."""
    parent = model("Parent")
    proxy = model("Proxy", parent, meta={"proxy": True})
    connect(proxy, use_del_items=False)
    assert connection_of(parent) == connection_of(proxy) == Connection(use_del_items=False)
    assert not hasattr(parent, "actions")


def test_a_model_that_nobody_connected_has_no_connection() -> None:
    """Nor has it the attributes."""
    assert connection_of(Group) is None
    assert connection_of(ArticleTotals) is None
    assert not hasattr(Group, "actions")


def test_the_models_of_the_newsroom_are_connected_at_start_up() -> None:
    """By its module ``action_handlers``."""
    assert connection_of(Article) == connection_of(Column) == Connection(use_del_items=True)
    assert connection_of(User) == connection_of(Page) == Connection(use_del_items=True)
    assert connection_of(Note) == Connection(use_del_items=False)
    connected = set(connected_models())
    assert {Article, Column, User, Page, Note} <= connected
    assert Group not in connected


def test_the_deletion_of_a_connected_model_is_listened_to() -> None:
    """And of what inherits from it."""
    connect(Group)
    del Group.actions, Group.trackers  # type: ignore[attr-defined]  # they were put there
    for one in (Group, Article, Column, Note):
        assert pre_delete.has_listeners(one)


def test_ac_10_the_settings_name_the_attributes(settings: Any) -> None:
    """When a model is connected."""
    settings.FOOTFALL = {**settings.FOOTFALL, "ACTIONS_ATTR": "deeds", "TRACKERS_ATTR": "followers"}
    plain = connect(model("Plain", actions=models.IntegerField()))
    assert isinstance(plain().deeds, ObjectActions)
    assert isinstance(plain().followers, ObjectTrackers)


@pytest.mark.parametrize(
    ("name", "setting"), [("actions", "ACTIONS_ATTR"), ("trackers", "TRACKERS_ATTR")], ids=["actions", "trackers"]
)
def test_a_name_that_is_taken_is_refused(name: str, setting: str) -> None:
    """By a field, a property, a method, or what a base has; the setting is named, and nothing is connected."""
    field = model("WithField", **{name: models.IntegerField()})
    other = model("WithOther", **{name: property(lambda self: 1)})
    child = model("Child", field)
    for taken in (field, other, child):
        with pytest.raises(ImproperlyConfigured, match=f"{name!r}.*{setting}"):
            connect(taken)
        assert connection_of(taken) is None
        assert not {ActionsAccessor, TrackersAccessor} & {type(value) for value in vars(taken).values()}


def test_a_name_that_a_relation_points_back_by_is_refused() -> None:
    """It would be gone otherwise."""
    plain = model("Plain")
    model("Deed", plain=models.ForeignKey(plain, models.CASCADE, related_name="actions"))
    with pytest.raises(ImproperlyConfigured, match="ACTIONS_ATTR"):
        connect(plain)


@pytest.mark.parametrize(
    ("name", "setting"), [("actions", "ACTIONS_ATTR"), ("trackers", "TRACKERS_ATTR")], ids=["actions", "trackers"]
)
def test_a_relation_that_takes_the_name_later_is_reported(
    name: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a model is decorated, and another points at it below: once, by the model at which it points."""
    plain = connect(model("Plain"))
    heir = model("Heir", plain, meta={"proxy": True})
    monkeypatch.setattr(checks, "connected_models", lambda: [plain, heir, Article])
    assert checks.check_connected_models() == []
    model("Deed", plain=models.ForeignKey(plain, models.CASCADE, related_name=name))
    (message,) = checks.check_connected_models()
    assert (message.id, message.obj, message.is_serious()) == ("footfall.storage.E003", plain, True)
    assert f"newsroom.Plain has a {name!r} of its own" in message.msg and setting in message.msg


def test_the_check_of_connected_models_is_registered() -> None:
    """And has nothing to say of the newsroom."""
    assert checks.check_connected_models in registry.get_checks()
    assert checks.check_connected_models() == []


def test_the_class_itself_has_the_accessors() -> None:
    """Which say what they are; they are for objects."""
    assert isinstance(Article.actions, ActionsAccessor)  # type: ignore[attr-defined]  # connected
    assert isinstance(Article.trackers, TrackersAccessor)  # type: ignore[attr-defined]  # connected


SITE = """
from django.conf import settings
settings.configure(
    INSTALLED_APPS=["people", "django.contrib.auth", "django.contrib.contenttypes", "footfall.storage"],
    AUTH_USER_MODEL="people.Person",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    FOOTFALL={"MARKED_MODELS": []},
)
import django
django.setup()
from django.core.management import call_command
from footfall.storage.models import DeletedItem
from people.models import Person, Place
call_command("migrate", run_syncdb=True, verbosity=0)
Place.objects.create(name="Ulm").delete()
Person.objects.create(username="ada").delete()
print(*DeletedItem.objects.order_by("object_type"), sep="|")
"""

MODELS = """
from django.contrib.auth.models import AbstractUser
from django.db import models
from footfall.storage.actions import connect

@connect
class Person(AbstractUser):
    pass

@connect
class City(models.Model):
    name = models.TextField()

    def __str__(self):
        return self.name

class Place(City):
    class Meta:
        proxy = True
"""


def test_ac_10_models_may_be_decorated_in_an_app_that_is_loaded_first(tmp_path: Path) -> None:
    """The user model among them; their deletion, and a proxy's, is listened to though MARKED_MODELS names none."""
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "__init__.py").touch()
    (tmp_path / "people" / "models.py").write_text(MODELS)
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        [sys.executable, "-c", SITE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.stdout.strip(), ran.returncode) == ("Ulm|ada", 0), ran.stderr
