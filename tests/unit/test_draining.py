"""What a site's own tests lean on: `drain`, and the immediate transport."""

from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from footfall.producers import publish_labels
from footfall.producers.shipper import LOCK_NAME as SHIPPER_LOCK
from footfall.producers.spool import current_spool
from footfall.producers.tail import SpoolLock, journals
from footfall.storage.models import AppliedMessage, SpoolPosition, Statistic
from footfall.workers import immediate, testing
from footfall.workers.embedded import LOCK_NAME
from footfall.workers.testing import drain


@pytest.fixture(params=["embedded", "rabbitmq"])
def transport(request: pytest.FixtureRequest, settings: Any) -> str:
    """Either transport, with no broker and no worker anywhere."""
    settings.FOOTFALL = {
        **settings.FOOTFALL,
        "TRANSPORT": request.param,
        "SHIPPER": "daemon",
        "BROKER_URL": "amqp://nobody@127.0.0.1:1/",
    }
    return str(request.param)


def counts() -> dict[str, int]:
    return dict(Statistic.objects.values_list("label", "counter"))


@pytest.mark.usefixtures("transport", "transactional_db")
def test_everything_published_so_far_is_applied_once() -> None:
    for label in ("a", "b", "a"):
        publish_labels(f"{label}:test:dom")

    assert (drain(), counts()) == (3, {"a": 2, "b": 1})
    assert (drain(), counts()) == (0, {"a": 2, "b": 1})


@pytest.mark.usefixtures("transport", "transactional_db")
def test_publishing_goes_on_between_two_drains() -> None:
    publish_labels("a:test:dom")
    drain()
    publish_labels("a:test:dom")

    assert (drain(), counts()) == (1, {"a": 2})


@pytest.mark.usefixtures("transport", "db")
def test_inside_testcase_nothing_is_left_for_the_next_test(django_capture_on_commit_callbacks: Any) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        publish_labels("a:test:dom")

    with transaction.atomic():
        assert drain() == 1
        assert counts() == {"a": 1}
        transaction.set_rollback(True)

    assert journals(current_spool().directory) == []
    assert not SpoolPosition.objects.exists()


@pytest.mark.usefixtures("transport", "db")
def test_a_spool_that_was_never_used_holds_nothing() -> None:
    assert drain() == 0


@pytest.mark.parametrize(
    ("transport", "name"), [("embedded", LOCK_NAME), ("rabbitmq", SHIPPER_LOCK)], indirect=["transport"]
)
def test_another_reader_at_work_is_named(
    transport: str, name: str, transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(testing, "LOCK_SECONDS", 0.05)
    publish_labels("a:test:dom")
    lock = SpoolLock(current_spool().directory / name)
    assert lock.acquire()
    try:
        with pytest.raises(RuntimeError, match=r"Process \d+ works on the spool .* a spool of their own"):
            drain()
    finally:
        lock.release()


@pytest.mark.usefixtures("transactional_db")
def test_what_other_processes_published_does_not_end_in_a_test_database(
    spool_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests that share the site's spool would take its events away from it."""
    publish_labels("from:this:process")
    monkeypatch.setattr("footfall.workers.testing.written_here", set())

    with pytest.raises(RuntimeError, match="a spool of their own"):
        drain()

    assert journals(spool_directory) != []
    assert not Statistic.objects.exists()


@pytest.mark.usefixtures("transactional_db")
def test_the_immediate_transport_applies_within_the_call(settings: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate"}

    publish_labels("a:test:dom")

    assert counts() == {"a": 1}
    assert AppliedMessage.objects.exists()
    assert drain() == 0


@pytest.mark.parametrize("line", [b"", b"not json", b'{"unit": 1}', b"\xff"])
def test_the_immediate_transport_never_raises(line: bytes, transactional_db: None) -> None:
    immediate.apply(line)


def test_the_immediate_transport_says_what_it_lost(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Here because no test without the database may use it; the view goes on."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "immediate"}
    publish_labels("home")

    assert "lost" in caplog.text
