"""What a model says in its inner class, and what it has from the classes that it inherits from."""

import copy
import pickle
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.test.utils import isolate_apps
from newsroom.models import Desk, Issue, Magazine, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.references import HandleRefManager, HandleRefModel, HandleRefQuerySet


def inner(*bases: type, **keys: Any) -> type:
    return type("HandleRef", bases, keys)


def make(called: str, *bases: type, **values: Any) -> Any:
    return type(called, bases or (HandleRefModel,), {"__module__": "newsroom.models", **values})


def meta(**values: Any) -> type:
    return type("Meta", (), values)


def test_hr_06_a_tag_is_declared_or_the_name_of_the_class() -> None:
    """In lower case."""
    assert (Publisher._handleref.tag, Desk._handleref.tag) == ("org", "desk_2")
    assert (Magazine._handleref.tag, Story._handleref.tag, Photo._handleref.tag) == ("magazine", "story", "photo")


def test_what_is_not_declared_is_off() -> None:
    """Nothing is deleted with an object, every save counts, nothing is published."""
    options = Issue._handleref

    assert (options.delete_cascade, options.skip_unchanged, options.publish_actions) == ([], False, False)
    assert Story._handleref.publish_actions and Photo._handleref.skip_unchanged
    assert Publisher._handleref.delete_cascade == ["magazines"]


def test_any_key_can_be_declared_and_is_asked_for_by_name() -> None:
    """`prop`; a key that is not there is an AttributeError, which names it."""
    assert Publisher.handleref.prop("kind") == Publisher._handleref.kind == "company"
    assert Publisher.handleref.prop("tag") == Publisher.handleref.tag == Publisher.objects.tag == "org"
    with pytest.raises(AttributeError, match="'org' has no size"):
        Publisher.handleref.prop("size")
    with pytest.raises(AttributeError, match="'magazine' has no kind"):
        Magazine.handleref.prop("kind")


def test_a_model_without_an_inner_class_shares_that_of_the_one_it_inherits_from() -> None:
    """The tag too: they share their keys."""
    assert Supplement._handleref.tag == SpecialIssue._handleref.tag == Issue._handleref.tag == "issue"
    assert Supplement(pk=3).handle == SpecialIssue(pk=3).handle == "issue3"


@isolate_apps("newsroom")
def test_a_tag_is_passed_on_from_an_abstract_model_where_it_is_declared() -> None:
    """Else each model is tagged by its own name; the other keys go on to both."""
    tagged = make("Tagged", HandleRef=inner(tag="x", kind="k"), Meta=meta(abstract=True))
    plain = make("Plain", HandleRef=inner(kind="k"), Meta=meta(abstract=True))

    assert make("First", tagged)._handleref.tag == "x"
    assert make("Second", plain)._handleref.tag == "second" and make("Third", plain)._handleref.kind == "k"
    assert make("Fourth", make("Below", plain, Meta=meta(abstract=True)))._handleref.tag == "fourth"


@isolate_apps("newsroom")
def test_an_inner_class_of_its_own_stands_for_the_whole() -> None:
    """Nothing comes from the model above, unless the inner class inherits from that one's."""
    above = make("Above", HandleRef=inner(tag="x", kind="k", delete_cascade=[], skip_unchanged=True))

    own = make("Own", above, HandleRef=inner(colour="red"))._handleref
    assert (own.tag, own.colour, own.skip_unchanged, hasattr(own, "kind")) == ("own", "red", False, False)

    heir = make("Heir", above, HandleRef=inner(above.HandleRef, colour="red"))._handleref
    assert (heir.tag, heir.colour, heir.skip_unchanged, heir.kind) == ("x", "red", True, "k")

    named = make("Named", above, HandleRef=inner(above.HandleRef, tag="y"))._handleref
    assert (named.tag, named.kind) == ("y", "k")


@isolate_apps("newsroom")
def test_a_proxy_may_have_an_inner_class_of_its_own() -> None:
    """And is then tagged by itself."""
    above = make("Above")

    assert make("First", above, Meta=meta(proxy=True))._handleref.tag == "above"
    assert make("Second", above, HandleRef=inner(kind="k"), Meta=meta(proxy=True))._handleref.tag == "second"


@isolate_apps("newsroom")
def test_keys_are_what_the_inner_class_has() -> None:
    """Functions as well, called without an object; what Python adds by itself is no key."""

    class Keys:
        tag = "keys"

        @staticmethod
        def label() -> str:
            return "a label"

        @classmethod
        def whose(cls) -> str:
            return cls.__name__

    options = make("Model", HandleRef=Keys)._handleref

    assert (options.label(), options.whose()) == ("a label", "Keys")
    assert not [name for name in vars(options) if name.startswith("__")]
    assert repr(options).startswith("HandleRefOptions({") and copy.copy(options).tag == "keys"
    assert pickle.loads(pickle.dumps(Publisher._handleref)).kind == "company"


@isolate_apps("newsroom")
def test_delete_cascade_is_a_list_or_a_tuple_of_names() -> None:
    """Each model has a list of its own; a text would be taken for its letters."""
    names = ["above"]
    first, second = make("First", HandleRef=inner(delete_cascade=names)), make("Second")
    third = make("Third", HandleRef=inner(delete_cascade=("above",)))

    assert first._handleref.delete_cascade == third._handleref.delete_cascade == names
    assert first._handleref.delete_cascade is not names
    second._handleref.delete_cascade.append("other")
    assert make("Fourth")._handleref.delete_cascade == []
    for number, wrong in enumerate(["magazines", {"magazines"}, [1], None]):
        odd = make(f"Odd{number}", HandleRef=inner(delete_cascade=wrong))
        with pytest.raises(ImproperlyConfigured, match=f"Odd{number}.HandleRef.delete_cascade is a list of names"):
            _ = odd._handleref


@isolate_apps("newsroom")
def test_handleref_is_the_default_manager_and_objects_is_another() -> None:
    """Both give rows that keep account; a model's own manager takes the place of `objects`."""

    class Own(HandleRefQuerySet):
        def named(self, name: str) -> Any:
            return self.filter(name=name)

    own = make("Own", objects=Own.as_manager(), name=models.TextField())
    for model in (Publisher, Issue, Supplement, SpecialIssue, make("First", make("Base", Meta=meta(abstract=True)))):
        assert isinstance(model.handleref, HandleRefManager) and isinstance(model.objects, HandleRefManager)
        assert model.handleref is not model.objects
        assert isinstance(model.objects.all(), HandleRefQuerySet)
        assert model._default_manager.name == "handleref"
    assert own._default_manager.name == "objects" and own.objects.named("a").undeleted().query
    assert own.handleref.tag == "own"


def test_the_latest_is_that_which_was_updated_last() -> None:
    """And rows come in that order, also for a model whose Meta does not inherit."""
    for model in (Publisher, Magazine, Supplement):
        assert model._meta.get_latest_by == "updated" and list(model._meta.ordering) == ["-updated", "-created"]
    assert SpecialIssue.objects.all().query.get_meta().get_latest_by == "updated"


@isolate_apps("newsroom")
def test_a_meta_of_its_own_need_not_inherit() -> None:
    """Fields, managers and what is counted stay; ordering is what that Meta says."""
    own = make("Own", Meta=meta(ordering=["pk"]))

    assert list(own._meta.ordering) == ["pk"] and own._default_manager.name == "handleref"
    names = [field.name for field in own._meta.concrete_fields]
    assert names == [
        "id", "status", "created", "updated", "version", "change_stamp", "change_batch", "former_status"
    ]  # fmt: skip


def test_the_main_queries_have_indexes() -> None:
    """Times, version, stamp and batch."""
    for name in ("created", "updated", "version", "change_stamp", "change_batch"):
        assert Publisher._meta.get_field(name).db_index
