"""A store of versions of a site's own, in memory: what the admin asks of it, and that it needs no other one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import reversion
from django.contrib.admin.sites import AdminSite
from django.contrib.auth.models import User
from django.db import models
from django.test import Client
from django.urls import path, reverse
from newsroom.models import Desk
from reversion.models import Revision

from footfall.storage.admin import VersionAdmin
from footfall.storage.versions import History, Reverter, Version, VersionNotFound, register

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


class Page(Version):
    """What was put on a shelf."""

    def __init__(self, instance: models.Model | None, user: Any, comment: str, before: Page | None) -> None:
        self._held, self._user, self._comment, self._before = instance, user, comment, before
        self._place = f"page-{before._number + 1 if before else 1:03}"

    @classmethod
    def of(cls, instance_or_model: Any, object_id: Any = None) -> Shelf:
        """The shelf of the object."""
        return Shelf(str(instance_or_model.pk if object_id is None else object_id))

    @property
    def _number(self) -> int:
        return int(self._place[5:])

    @property
    def id(self) -> str | None:
        return self._place

    @property
    def date(self) -> None:
        return None

    @property
    def user(self) -> Any:
        return self._user

    @property
    def comment(self) -> str:
        return self._comment

    @property
    def model(self) -> type[models.Model] | None:
        return Desk

    @property
    def object_id(self) -> str | None:
        return str(self._held.pk) if self._held else None

    @property
    def data(self) -> dict[str, Any]:
        fields = Desk._meta.concrete_fields if self._held else []
        return {field.attname: getattr(self._held, field.attname) for field in fields}

    @property
    def previous(self) -> Page | None:
        return self._before


SHELVES: defaultdict[str, list[Page]] = defaultdict(list)


class Shelf(History[Page]):
    def __init__(self, key: str) -> None:
        self._pages = SHELVES[key][::-1]

    def count(self) -> int:
        return len(self._pages)

    def part(self, start: int, stop: int | None) -> list[Page]:
        return self._pages[start:stop]

    def pick(self, keys: Iterable[Any]) -> list[Page]:
        wanted = {*keys}
        found = [one for one in self._pages if one.id in wanted]
        if len(found) < len(wanted):
            raise VersionNotFound("No such page.")
        return found


def put(desk: Desk, user: Any = None, comment: str = "") -> None:
    pages = SHELVES[str(desk.pk)]
    pages.append(Page(Desk.objects.get(pk=desk.pk), user, comment, pages[-1] if pages else None))


class Shelver(Reverter):
    @contextmanager
    def recorded(self, instance: Any, user: Any, comment: str) -> Iterator[None]:
        yield
        put(instance, user, comment)


class ShelfAdmin(VersionAdmin):
    version_cls = Page
    reverter_cls = Shelver


site = AdminSite(name="library")
site.register(Desk, ShelfAdmin)
urlpatterns = [path("library/", site.urls)]


def at(desk: Desk, name: str, *args: str) -> str:
    return reverse(f"library:newsroom_desk_{name}", args=[desk.pk, *args])


@pytest.fixture
def desk() -> Iterator[Desk]:
    one = Desk.objects.create(name="Home")
    put(one)
    one.name = "Sports"
    one.save()
    put(one)
    yield one
    SHELVES.clear()


@pytest.fixture
def chief(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief"))
    return client


def test_a_history_of_a_store_of_its_own_is_walked(chief: Client, desk: Desk) -> None:
    """List, details, reversion and rollback; its keys may be texts."""
    listed = chief.get(at(desk, "history"))
    assert [entry["id"] for entry in listed.context["history"]] == ["page-002", "page-001"]
    assert b"Sports" in chief.get(at(desk, "version", "page-002")).content
    (change,) = chief.get(at(desk, "version_revert"), {"version_id": "page-002"}).context["changes"]
    assert [(one.key, one.value.full) for one in change.choices] == [("page-001", "Home")]

    chief.post(at(desk, "version_revert_process"), {"field_name": "page-001"})
    assert Desk.objects.get().name == "Home"
    chief.post(at(desk, "version_rollback_process", "page-002"))
    assert Desk.objects.get().name == "Sports"

    newest = Page.of(desk)[0]
    assert (newest.comment, str(newest.user), newest.version) == ("rollback to version 2", "chief", 4)
    assert [one.version for one in Page.of(desk)] == [4, 3, 2, 1] and Page.of(desk).get("page-004") == newest


@pytest.mark.parametrize("key", ["page-009", "0", "x", "1", "\0"])
def test_what_the_store_does_not_find_is_404(chief: Client, desk: Desk, key: str) -> None:
    """It says so; the admin asks for no number."""
    assert chief.get(at(desk, "version", key)).status_code == 404
    assert chief.get(at(desk, "version_revert"), {"version_id": key}).status_code == 404
    assert chief.post(at(desk, "version_rollback_process", key)).status_code == 404


def test_nothing_is_put_down_elsewhere(chief: Client, desk: Desk) -> None:
    """The model is not registered with django-reversion, and no revision is made of what is done."""
    was_registered = reversion.is_registered(Desk)
    if was_registered:
        reversion.unregister(Desk)
    try:
        ShelfAdmin(Desk, AdminSite())
        assert not reversion.is_registered(Desk)
        register(Desk)
        chief.post(at(desk, "change"), {"name": "Culture", "status": ""})
        chief.post(at(desk, "delete"), {"post": "yes"})
        chief.post(at(desk, "restore"))
        assert (Desk.objects.get().name, Desk.objects.get().version) == ("Culture", 5)
        assert not Revision.objects.exists()
    finally:
        if not was_registered:
            reversion.unregister(Desk)
