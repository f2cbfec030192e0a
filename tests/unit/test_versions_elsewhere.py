"""Versions in another database than the objects, and objects in another than the versions."""

from __future__ import annotations

from typing import Any

import pytest
import reversion
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connections
from django.test.utils import CaptureQueriesContext
from histories import register_all, revision
from newsroom.models import Desk
from reversion.models import Revision
from reversion.models import Version as Stored

from footfall.storage.versions import ReversionReverter, ReversionVersion, VersionNotFound

#: The models whose rows are kept on the second database: see the fixture `archive`.
ARCHIVED = {"revision", "version"}

register_all()
pytestmark = pytest.mark.django_db(transaction=True)


def test_versions_are_read_and_written_where_they_are_routed(archive: str) -> None:
    """Objects stay where they are; so do users, who are not joined then but read for the page at once."""
    ada = User.objects.create(pk=1, username="ada")
    User(pk=1, username="somebody of the archive").save(using=archive)
    one = Desk(name="a")
    for name in "abc":
        with reversion.create_revision():
            reversion.set_user(User.objects.using(archive).get())
            one.name = name
            one.save()
    ContentType.objects.db_manager(archive).get_for_model(Desk)

    with CaptureQueriesContext(connections["default"]) as here, CaptureQueriesContext(connections[archive]) as there:
        page = ReversionVersion.of(one)[0:2]
        assert [(version.user, version.changed_fields(version.previous)) for version in page] == [(ada, ["name"])] * 2
    assert (len(here), len(there)) == (1, 1)
    assert Stored.objects.count() == 3 and page[0].stored._state.db == archive
    assert ReversionVersion(page[1].id) == page[1] and page[1].next == page[0]

    ReversionReverter().rollback(one, page[1])
    assert Desk.objects.using("default").get().name == "b"
    assert ReversionVersion.of(one)[0].comment == "rollback to version 2"


def test_a_change_that_fails_leaves_no_version_in_the_other_database(archive: str) -> None:
    """The revision is stored before the object's transaction ends, and undone with it."""
    one = Desk(name="a")
    with revision():
        one.save()
    version = ReversionVersion.of(one)[0]
    Desk.objects.filter(pk=one.pk).update(name="")

    class Refusing(ReversionReverter):
        def validate_status_change(self, instance: Any, status: str) -> None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Refusing().rollback(one, version)
    assert Stored.objects.count() == Revision.objects.count() == 1 and Desk.objects.get().name == ""


def test_objects_of_another_database_have_a_history_of_their_own(archive: str, settings: Any) -> None:
    """Keys are not one across databases. Which is meant is told by the instance, or by `model_db`."""
    settings.DATABASE_ROUTERS = []
    here, there = Desk(pk=7, name="here"), Desk(pk=7, name="there")
    with revision():
        here.save()
    with revision():
        there.save(using=archive)
    with revision():
        there.name = "elsewhere"
        there.save()

    assert [version.data["name"] for version in ReversionVersion.of(here)] == ["here"]
    assert [version.data["name"] for version in ReversionVersion.of(there)] == ["elsewhere", "there"]
    assert len(ReversionVersion.of(Desk, 7)) == 1
    assert [version.previous for version in ReversionVersion.of(Desk, 7, model_db=archive)][-1] is None
    first = ReversionVersion.of(there)[1]
    assert first.next.data["name"] == "elsewhere"

    ReversionReverter().rollback(there, first)
    assert Desk.objects.using(archive).get().name == "there" and Desk.objects.using("default").get().name == "here"
    assert ReversionVersion.of(there)[0].version == 3


def test_versions_of_a_named_database(archive: str, settings: Any) -> None:
    """A site may write revisions to several."""
    settings.DATABASE_ROUTERS = []
    one = Desk(name="a")
    with reversion.create_revision(using=archive):
        one.save()

    (version,) = ReversionVersion.of(one, using=archive)
    assert version.data["name"] == "a" and not version.next and version.previous is None
    assert ReversionVersion(version.id, using=archive) == version
    assert len(ReversionVersion.of(one)) == 0
    with pytest.raises(VersionNotFound):
        ReversionVersion(version.id)
