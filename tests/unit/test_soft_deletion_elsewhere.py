"""Objects that are kept on another database are deleted, and restored, there."""

from __future__ import annotations

from newsroom.models import Magazine, Publisher

from footfall.storage.softdeletion import DELETED

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"publisher", "magazine", "issue", "supplement"}


def test_objects_on_another_database_are_deleted_there(archive: str) -> None:
    """Where the router has them written, or where it is said; the counter of changes is that database's."""
    publisher = Publisher.objects.create(name="Press")
    Magazine.objects.create(title="Weekly", publisher=publisher)
    here = Publisher.objects.using("default").create(name="Here")

    publisher.delete()
    here.delete(using="default")

    for alias, name in ((archive, "Press"), ("default", "Here")):
        assert list(Publisher.objects.using(alias).values_list("name", "status")) == [(name, DELETED)]
    assert Magazine.objects.using(archive).get().status == DELETED
    assert publisher.change_stamp == Publisher.objects.using(archive).get().change_stamp

    assert Publisher.objects.using("default").all().undelete() == (1, {"newsroom.Publisher": 1})
    assert Publisher.objects.using("default").get().status == ""
    publisher.undelete()
    assert Magazine.objects.using(archive).get().status == ""
    assert Publisher.objects.using(archive).all().delete() == (2, {"newsroom.Publisher": 1, "newsroom.Magazine": 1})
