"""Objects that keep account of themselves, kept in another database than the first."""

from typing import Any

from newsroom.models import Desk, Publisher

ARCHIVED = {"publisher"}


def test_saves_reach_the_other_database(archive: str, django_db_blocker: Any) -> None:
    """``using``, and the router."""
    with django_db_blocker.unblock():
        routed = Publisher.objects.create(name="p")
        routed.save()
        assert routed._state.db == archive and routed.version == 2
        assert not Publisher.objects.using("default").exists()

        desk = Desk(name="d")
        desk.save(using=archive)
        desk.save()
        assert Desk.objects.using(archive).get().version == 2 and not Desk.objects.using("default").exists()

        desk.save(using="default")  # where it is not yet
        assert Desk.objects.using("default").get().version == 1 and desk.version == 1
        assert Publisher.objects.update(note="n") == 1 and Publisher.objects.get().version == 3
