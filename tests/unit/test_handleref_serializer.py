"""The serializer for Django REST framework: what can be read, what can be written, and what is not shown any more."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import pytest
from django.db import models
from django.test.utils import isolate_apps
from django.urls import path
from django.utils.dateparse import parse_datetime
from newsroom.models import Desk, Issue, Magazine, Masthead, Photo, Publisher, Supplement
from pytest_django import DjangoAssertNumQueries
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient
from rest_framework.views import APIView

from footfall.storage.actions import get_del_item
from footfall.storage.references import HandleRefModel
from footfall.storage.serializers import TECHNICAL, HandleRefSerializer

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]

OWN = HandleRefSerializer.Meta.fields
DEAD = {"status": "deleted"}


class PublisherSerializer(HandleRefSerializer):
    class Meta:
        model = Publisher
        fields = ["id", "name", *OWN, "version"]


class MagazineSerializer(HandleRefSerializer):
    publisher = PublisherSerializer(read_only=True)

    class Meta:
        model = Magazine
        fields = ["id", "title", "publisher", *OWN]


class PublisherWithMagazines(HandleRefSerializer):
    magazines = MagazineSerializer(many=True, read_only=True)

    class Meta:
        model = Publisher
        fields = ["id", "magazines", *OWN]


class PublisherChanges(APIView):
    """An end-point that is polled: what changed since the cursor that it gave the last time, and the next cursor."""

    authentication_classes = []
    permission_classes = [AllowAny]
    renderer_classes = [JSONRenderer]

    def get(self, request: Request) -> Response:
        rows, cursor = Publisher.handleref.since(cursor=request.query_params.get("cursor", ""))
        return Response({"rows": PublisherSerializer(rows, many=True).data, "cursor": cursor})

    def post(self, request: Request) -> Response:
        serializer = PublisherSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        serializer.save()
        return Response(serializer.data, status=201)


urlpatterns = [path("publishers/", PublisherChanges.as_view())]


def serializer_of(kind: type[HandleRefModel], *names: str, **more: Any) -> type[HandleRefSerializer]:
    """With fields of these names, else with all unless ``more`` says otherwise."""
    fields: Any = {"fields": [*names]} if names else {} if "exclude" in more else {"fields": "__all__"}
    meta = type("Meta", (), {"model": kind, **fields, **more})
    return type("MadeSerializer", (HandleRefSerializer,), {"Meta": meta})


def shown(serializer: Any) -> Any:
    """As it is sent: rendered and read again."""
    return json.loads(JSONRenderer().render(serializer.data))


def time(text: str) -> datetime | None:
    return parse_datetime(text)


# -- A live object


def test_it_shows_times_status_and_where_it_is_asked_for_the_version() -> None:
    """The fields that the base class names, and the version, which a subclass adds."""
    assert OWN == ["created", "updated", "status"]
    publisher = Publisher.objects.create(name="a", status="ok")
    publisher.save()
    data = shown(PublisherSerializer(publisher))
    assert list(data) == ["id", "name", "created", "updated", "status", "version"]
    assert (data["id"], data["name"], data["status"], data["version"]) == (publisher.pk, "a", "ok", 2)
    assert (time(data["created"]), time(data["updated"])) == (publisher.created, publisher.updated)


def test_what_an_object_keeps_of_itself_can_only_be_read() -> None:
    """A client that sends it is not refused, nor heard."""
    sent = {"name": "a", "version": 7, "status": "deleted", "created": "2020-01-01T00:00Z", "updated": "2020-01-01"}
    serializer = PublisherSerializer(data=sent)
    assert serializer.is_valid() and serializer.validated_data == {"name": "a"}
    publisher = serializer.save()
    assert (publisher.version, publisher.status, publisher.created) == (1, "", publisher.updated)

    changed = PublisherSerializer(publisher, data={**sent, "name": "b"})
    assert changed.is_valid()
    changed.save()
    publisher.refresh_from_db()
    assert (publisher.name, publisher.version, publisher.status) == ("b", 2, "")
    assert changed.data["version"] == 2


def test_reading_writes_nothing(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    Publisher.objects.bulk_create(Publisher(name=name) for name in "abc")
    before = list(Publisher.objects.order_by("pk").values())
    with django_assert_num_queries(1):
        assert len(shown(PublisherSerializer(Publisher.objects.all(), many=True))) == 3
    assert list(Publisher.objects.order_by("pk").values()) == before


def test_a_unique_value_is_held_against_what_is_not_deleted() -> None:
    """A live one is refused with a message; one of what is deleted may be used again."""
    publisher = Publisher.objects.create(name="a")
    again = PublisherSerializer(data={"name": "a"})
    assert not again.is_valid() and again.errors
    itself = PublisherSerializer(publisher, data={"name": "a"})
    assert itself.is_valid()
    publisher.delete()
    again = PublisherSerializer(data={"name": "a"})
    assert again.is_valid()
    assert again.save().pk != publisher.pk


# -- A deleted one


def test_a_deleted_row_is_shown_by_key_status_and_time_alone() -> None:
    publisher = Publisher.objects.create(name="secret")
    publisher.delete()
    data = shown(PublisherSerializer(publisher))
    assert data == {"id": publisher.pk, **DEAD, "updated": data["updated"]}
    assert time(data["updated"]) == publisher.updated


def test_it_is_itself_again_when_it_is_restored() -> None:
    publisher = Publisher.objects.create(name="a")
    publisher.delete()
    publisher.undelete()
    assert shown(PublisherSerializer(publisher))["name"] == "a"


@pytest.mark.django_db(transaction=True)  # a poll gives what is committed
def test_a_tombstone_is_shown_as_the_row_was() -> None:
    """One that a poll gives, of what was deleted softly and for good, and a `DeletedItem`."""
    soft, hard = (Publisher.objects.create(name=name) for name in "ab")
    soft_key, hard_key = soft.pk, hard.pk
    _rows, cursor = Publisher.handleref.since(cursor="")
    soft.delete()
    hard.delete(hard=True)
    rows, _cursor = Publisher.handleref.since(cursor=cursor)
    polled = sorted(shown(PublisherSerializer(rows, many=True)), key=lambda one: one["id"])
    assert [(one["id"], one["status"], sorted(one)) for one in polled] == [
        (key, "deleted", ["id", "status", "updated"]) for key in (soft_key, hard_key)
    ]
    assert shown(PublisherSerializer(get_del_item(soft))) == shown(PublisherSerializer(soft)) == polled[0]
    assert shown(PublisherSerializer(get_del_item(hard))) == polled[1]


def test_any_kind_of_key_under_the_name_that_it_has() -> None:
    """Where the serializer doesn't show it, as `id`."""
    photo = Photo.objects.create(id=uuid.UUID(int=5), caption="secret")
    masthead = Masthead.objects.create(slug="head")
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="p"))
    supplement = Supplement.objects.create(theme="t", magazine=magazine)
    for one in (photo, masthead, supplement):
        one.delete()
    assert shown(serializer_of(Photo, "id", "caption", *OWN)(photo))["id"] == str(photo.pk)
    assert shown(serializer_of(Photo, "caption")(photo)).keys() == {"id", "status", "updated"}
    assert shown(serializer_of(Photo, "caption")(photo))["id"] == str(photo.pk)
    assert shown(serializer_of(Masthead, "slug")(masthead))["slug"] == "head"
    assert shown(serializer_of(Supplement, "issue_ptr", "theme")(supplement))["issue_ptr"] == supplement.pk
    renamed = type(
        "Renamed",
        (HandleRefSerializer,),
        {
            "key": serializers.CharField(source="pk"),
            "Meta": type("Meta", (), {"model": Desk, "fields": ["key", "name"]}),
        },
    )
    desk = Desk.objects.create(name="secret")
    desk.delete()
    assert shown(renamed(desk))["key"] == str(desk.pk)


def test_a_key_that_is_a_relation_is_shown_as_what_it_is() -> None:
    """Whatever field of the framework's shows it of a live object."""
    magazine = Magazine.objects.create(title="m", publisher=Publisher.objects.create(name="p"))
    supplement = Supplement.objects.create(theme="secret", magazine=magazine)

    class SupplementSerializer(HandleRefSerializer):
        issue_ptr = serializers.PrimaryKeyRelatedField[Issue](read_only=True)

        class Meta:
            model = Supplement
            fields = ["issue_ptr", "theme"]

    assert shown(SupplementSerializer(supplement)) == {"issue_ptr": supplement.pk, "theme": "secret"}
    supplement.delete()
    data = shown(SupplementSerializer(supplement))
    assert (data["issue_ptr"], sorted(data)) == (supplement.pk, ["issue_ptr", "status", "updated"])


def test_deleted_ones_within_others_hide_their_content_too() -> None:
    """One, many, and those that `depth` shows."""
    publisher = Publisher.objects.create(name="secret")
    kept, gone = (Magazine.objects.create(title=title, publisher=publisher) for title in ("kept", "secret"))
    gone.delete()
    data = shown(PublisherWithMagazines(publisher))
    assert [one.get("title") for one in sorted(data["magazines"], key=lambda one: one["id"])] == ["kept", None]

    publisher.delete()
    deep = type(
        "Deep",
        (HandleRefSerializer,),
        {
            "Meta": type("Meta", (), {"model": Magazine, "fields": ["id", "title", "publisher"], "depth": 1}),
        },
    )
    orphan = Magazine(pk=kept.pk, title="kept", publisher=publisher)
    for serializer in (MagazineSerializer(orphan), deep(orphan)):
        data = shown(serializer)
        assert data["title"] == "kept"
        assert data["publisher"].keys() == {"id", "status", "updated"} and "secret" not in json.dumps(data)


@isolate_apps("newsroom")
def test_deleted_ones_hide_their_content_however_deep() -> None:
    """Through objects that keep no account of themselves, too."""

    class Shelf(models.Model):
        magazine = models.ForeignKey(Magazine, models.CASCADE, related_name="+")

        class Meta:
            app_label = "newsroom"

        def __str__(self) -> str:
            return f"{self.pk}"

    class Copy(HandleRefModel):
        shelf = models.ForeignKey(Shelf, models.CASCADE)

        class Meta(HandleRefModel.Meta):
            app_label = "newsroom"

    publisher = Publisher.objects.create(name="secret")
    magazine = Magazine.objects.create(title="kept", publisher=publisher)
    copy = Copy(pk=1, shelf=Shelf(pk=2, magazine=magazine))
    deep = serializer_of(Copy, depth=3)
    whole = shown(deep(copy))
    assert whole["shelf"]["magazine"]["publisher"]["name"] == "secret"
    assert not TECHNICAL & {name for one in (whole, *nested(whole)) for name in one}

    publisher.delete()
    assert shown(deep(copy))["shelf"]["magazine"]["publisher"].keys() == {"id", "status", "updated"}
    magazine.refresh_from_db()
    assert shown(deep(copy))["shelf"]["magazine"].keys() == {"id", "status", "updated"}


def nested(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The objects within one, however deep."""
    for value in data.values():
        if isinstance(value, dict):
            yield value
            yield from nested(value)


# -- What Footfall keeps for itself


@pytest.mark.parametrize("meta", [{"fields": "__all__"}, {"exclude": ["name"]}, {"exclude": ["name", "change_stamp"]}])
def test_what_footfall_keeps_of_a_row_for_itself_is_not_shown(meta: dict[str, Any]) -> None:
    """Where all fields are shown, or all but some."""
    data = shown(serializer_of(Publisher, **meta)(Publisher.objects.create(name="a")))
    assert not TECHNICAL & data.keys()
    assert {"id", "note", "status", "version", "created", "updated"} <= data.keys()


def test_what_footfall_keeps_of_a_row_is_shown_where_it_is_named() -> None:
    """By the fields, or by a field of the serializer's own."""
    publisher = Publisher.objects.create(name="a")
    publisher.refresh_from_db()
    assert shown(serializer_of(Publisher, "id", *TECHNICAL)(publisher)).keys() == {"id", *TECHNICAL}

    class Declaring(HandleRefSerializer):
        change_stamp = serializers.IntegerField(read_only=True)

        class Meta:
            model = Publisher
            fields = "__all__"

    assert shown(Declaring(publisher))["change_stamp"] == publisher.change_stamp
    assert TECHNICAL & shown(Declaring(publisher)).keys() == {"change_stamp"}


# -- Over HTTP


@pytest.mark.django_db(transaction=True)  # a poll gives what is committed
def test_an_end_point_is_polled_by_cursor() -> None:
    """Each poll brings what changed since, what was deleted without its content, and where to go on."""
    client = APIClient()
    publisher = Publisher.objects.create(name="a")

    def poll(cursor: str = "") -> Mapping[str, Any]:
        response = client.get("/publishers/", {"cursor": cursor})
        assert (response.status_code, response["Content-Type"]) == (200, "application/json")
        return json.loads(response.content)  # type: ignore[no-any-return]  # an object, as the view says

    first = poll()
    assert [row["name"] for row in first["rows"]] == ["a"]
    assert poll(first["cursor"])["rows"] == []
    response = client.post("/publishers/", {"name": "b"}, format="json")
    assert (response.status_code, response.json()["version"]) == (201, 1)
    publisher.delete()
    second = poll(first["cursor"])
    assert {row["id"]: row.get("name", row["status"]) for row in second["rows"]} == {
        publisher.pk: "deleted",
        response.json()["id"]: "b",
    }
    assert client.post("/publishers/", {"name": "b"}, format="json").status_code == 400
    assert poll(second["cursor"])["rows"] == []


def test_without_the_framework_it_says_what_to_install() -> None:
    """At its import; nothing else of Footfall needs the framework."""
    code = (
        "import sys, django; from django.conf import settings\n"
        "sys.modules['rest_framework'] = None\n"
        "settings.configure(INSTALLED_APPS=['django.contrib.contenttypes', 'django.contrib.auth',"
        " 'footfall.producers', 'footfall.storage']); django.setup()\n"
        "import footfall.storage.references\n"
        "import footfall.storage.serializers\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "django.core.exceptions.ImproperlyConfigured: "
        "footfall.storage.serializers needs Django REST framework: pip install 'footfall[rest]'."
    )
