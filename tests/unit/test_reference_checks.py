"""System checks of what a model says of itself in its inner class, and of its managers."""

from typing import Any

import pytest
from django.core.checks import CheckMessage
from django.db import models
from django.test.utils import isolate_apps
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement

from footfall.storage.cascades import cascade_named, cascades
from footfall.storage.references import HandleRefManager, HandleRefModel, HandleRefQuerySet

NEWSROOM: list[type[HandleRefModel]] = [
    Desk, Issue, Magazine, Masthead, Photo, Publisher, SpecialIssue, Story, Supplement
]  # fmt: skip


def told(*found: CheckMessage) -> list[str]:
    return [str(message.id).removeprefix("footfall.storage.") for message in found]


def inner(**keys: Any) -> type:
    return type("HandleRef", (), keys)


def make(called: str, *bases: type, **values: Any) -> Any:
    return type(called, bases or (HandleRefModel,), {"__module__": "newsroom.models", **values})


@pytest.mark.parametrize("model", NEWSROOM)
def test_these_models_have_no_fault(model: type[HandleRefModel]) -> None:
    """And a check asks no database: pytest-django refuses it here."""
    assert model.check() == []


@isolate_apps("newsroom")
def test_a_cascade_is_a_list_of_names() -> None:
    """A text would be taken for its letters."""
    for number, cascade in enumerate(["magazines", {"magazines"}, [1], None]):
        (message,) = make(f"Odd{number}", HandleRef=inner(delete_cascade=cascade)).check()
        assert told(message) == ["E004"] and f"Odd{number}.HandleRef.delete_cascade is a list of names" in message.msg
        assert message.is_serious()


@isolate_apps("newsroom")
def test_a_tag_is_a_text() -> None:
    """Nothing else is made one."""
    (message,) = make("Odd", HandleRef=inner(tag=5)).check()

    assert told(message) == ["E004"] and "tag is a text, not 5" in message.msg


@isolate_apps("newsroom")
def test_a_cascade_names_relations_that_others_make() -> None:
    """By an attribute or as filters do; the message has the name that was meant."""
    house = make("House", HandleRef=inner(delete_cascade=["roms", "nothing", "size"]), size=models.IntegerField())
    room = make("Room", house=models.ForeignKey(house, models.CASCADE, related_name="rooms"))

    first, second, third = house.check()

    assert told(first, second, third) == ["E005"] * 3
    assert "'roms'" in first.msg and "Did you mean rooms?" in first.msg and "related_name" in first.hint
    assert "'nothing'" in second.msg and "Did you mean" not in second.msg and "'size'" in third.msg
    assert room.check() == []


@isolate_apps("newsroom")
def test_what_a_cascade_names_is_a_model_that_can_be_deleted_softly() -> None:
    """Rows of others would have to go for good."""
    house = make("House", HandleRef=inner(delete_cascade=["rooms"]))
    make("Room", models.Model, house=models.ForeignKey(house, models.CASCADE, related_name="rooms"))

    (message,) = house.check()

    assert told(message) == ["E005"] and "'rooms' leads to Room, which is no HandleRefModel" in message.msg


@isolate_apps("newsroom")
def test_cascades_are_found_by_every_name_of_a_foreign_key() -> None:
    """One-to-one fields, models without a related_name, keys to the model that is inherited from, to itself."""
    house = make(
        "House",
        HandleRef=inner(delete_cascade=["room_set", "room", "cellar", "annexes"]),
        of=models.ForeignKey("self", models.CASCADE, related_name="annexes"),
    )
    room = make("Room", house=models.ForeignKey(house, models.CASCADE))
    cellar = make("Cellar", house=models.OneToOneField(house, models.CASCADE))
    villa = make("Villa", house)

    expected = [(room, "house"), (cellar, "house"), (house, "of")]
    assert [(one.related_model, one.field.name) for one in cascades(house)] == expected
    assert cascades(villa) == cascades(house)
    assert house.check() == villa.check() == []


@isolate_apps("newsroom")
def test_a_cascade_names_no_relation_of_many_to_many_and_no_model_of_inheritance() -> None:
    """What has several above it goes with none of them; and a child's row is the same object."""
    house = make("House")
    make("Villa", house)
    make("Tenant", houses=models.ManyToManyField(house, related_name="tenants"))

    for name in ("tenants", "tenant", "villa", "villa_ptr"):
        with pytest.raises(LookupError):
            cascade_named(house, name)


@isolate_apps("newsroom")
@pytest.mark.parametrize(
    ("tag", "fault"),
    [
        ("", "is blank"),
        ("   ", "is blank"),
        ("net ", "begins or ends"),
        ("-net", "begins or ends"),
        ("net-", "begins or ends"),
        ("\nnet", "begins or ends"),
        ("a:b", "colon"),
        ("a\nb", "line break"),
        ("a\tb", "can't be seen"),
        ("a\0b", "can't be seen"),
        ("a\ud800", "can't be seen"),
    ],
)
def test_a_tag_has_to_come_back_out_of_a_handle(tag: str, fault: str) -> None:
    """What stands between a tag and a key can't be at its ends."""
    (message,) = make("Odd", HandleRef=inner(tag=tag)).check()

    assert told(message) == ["E006"] and fault in message.msg and repr(tag) in message.msg


@isolate_apps("newsroom")
def test_two_models_with_one_tag_are_told_of_once() -> None:
    """By the later one: their handles are the same."""
    first = make("First", HandleRef=inner(tag="x"))
    second = make("Second", HandleRef=inner(tag="X"))

    (message,) = second.check()

    assert told(message) == ["W001"] and "newsroom.First has the tag 'x' too" in message.msg
    assert first.check() == [] and not message.is_serious()


@isolate_apps("newsroom")
def test_models_that_inherit_from_one_another_share_a_tag() -> None:
    """Their keys are the same too; but not those of two that share an abstract one."""
    base = make("Base", HandleRef=inner(tag="x"))
    one, other = make("One", base), make("Other", base, HandleRef=type("HandleRef", (base.HandleRef,), {"more": 1}))
    proxy = make("Proxy", base, Meta=type("Meta", (), {"proxy": True}))
    for model in (base, one, other, proxy):
        assert model.check() == []

    abstract = make("Abstract", HandleRef=inner(tag="y"), Meta=type("Meta", (), {"abstract": True}))
    left, right = make("Left", abstract), make("Right", abstract)
    assert (told(*left.check()), told(*right.check())) == ([], ["W001"])


@isolate_apps("newsroom")
def test_a_model_beside_one_with_a_fault_is_checked() -> None:
    """The fault is told of once, by the model that has it."""
    odd = make("Odd", HandleRef=inner(tag="x", delete_cascade="abc"))
    other = make("Other", HandleRef=inner(tag="x"))

    assert told(*odd.check()) == ["E004"] and other.check() == []


@isolate_apps("newsroom")
def test_managers_that_count_nothing_are_told_of() -> None:
    """The default one, whatever its name, and `objects`; each of them once."""

    class Counting(HandleRefQuerySet):
        pass

    class Older(models.Manager[Any]):
        def get_queryset(self) -> Any:
            return Counting(self.model, using=self._db)

    (message,) = make("First", rows=models.Manager()).check()
    assert told(message) == ["W002"] and "'rows'" in message.msg
    (message,) = make("Second", objects=models.Manager()).check()
    assert told(message) == ["W002"] and "'objects'" in message.msg
    assert told(*make("Third", rows=models.Manager(), objects=models.Manager()).check()) == ["W002", "W002"]
    for number, manager in enumerate([Counting.as_manager(), Older(), HandleRefManager()]):
        assert make(f"Good{number}", objects=manager).check() == []
