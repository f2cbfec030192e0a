"""System checks explain what is wrong with a configuration, and touch no network and no database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.checks import CheckMessage
from django.test import modify_settings

from footfall.producers import checks as producers
from footfall.storage import checks as storage
from footfall.workers import checks as workers

SCOPE = producers.MIDDLEWARE
OURS, EMBEDDED = workers.OURS, workers.EMBEDDED


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """No check asks a database or the network: pytest-django refuses the one, this the other."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a check opened a socket")

    monkeypatch.setattr("socket.socket.connect", refuse)


async def never_awaited(request: Any) -> bool:
    """A rule for consent that would always be true."""
    return False


def ids(messages: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("footfall.") for message in messages]


def test_the_settings_of_these_tests_have_no_fault() -> None:
    """What the other cases change is what they are found by."""
    found = [*producers.check_settings(), *producers.check_middleware(), *producers.check_spool()]
    found += [*storage.check_default_handler(), *storage.check_visible_objects()]
    found += [*workers.check_broker(), *workers.check_broker_url(), *workers.check_databases()]
    assert found == []


@pytest.mark.parametrize(
    ("name", "near"),
    [("TRANSPROT", "TRANSPORT"), ("spool_dir", "SPOOL_DIR"), ("BATCH_MESSAGE", "BATCH_MESSAGES")],
)
def test_a_mistyped_key_is_told_the_near_one(settings: LazySettings, name: str, near: str) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, name: 1}
    (message,) = producers.check_settings()
    assert message.id == "footfall.producers.E002"
    assert repr(name) in message.msg
    assert repr(near) in str(message.hint)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("BATCH_MESSAGES", "many", "producers.E003"),
        ("ENABLED", 1, "producers.E003"),
        ("BATCH_MESSAGES", True, "producers.E003"),
        ("TRANSPORT", "carrier pigeon", "producers.E004"),
        ("SHIPPER", None, "producers.E004"),
        ("MISSING_USER_AGENT", "drop", "producers.E004"),
        ("TRUSTED_PROXIES", "one", "producers.E003"),
        ("TRUSTED_PROXIES", True, "producers.E003"),
        ("RESPECT_DO_NOT_TRACK", "yes", "producers.E003"),
        ("RESPECT_GLOBAL_PRIVACY_CONTROL", 1, "producers.E003"),
        ("MAX_NEW_LABELS_PER_DAY", None, "producers.E003"),
        ("TRACK_ALLOWED_LABELS", "home", "producers.E011"),
        ("TRACK_ALLOWED_LABELS", ["home", 7], "producers.E011"),
        ("TRACK_ALLOWED_LABELS", {"home": 1}, "producers.E011"),
        ("TRACK_ALLOWED_LABELS", True, "producers.E011"),
        ("MARKED_MODELS", "newsroom.Article", "producers.E011"),
        ("CONSENT", True, "producers.E012"),
        ("CONSENT", "newsroom.nothing.here", "producers.E012"),
        ("CONSENT", "newsroom.models.nothing", "producers.E012"),
        ("CONSENT", "newsroom.urls.urlpatterns", "producers.E012"),
        ("CONSENT", "newsroom", "producers.E012"),
        ("CONSENT", never_awaited, "producers.E012"),
        ("TRACK_CACHE", "nowhere", "producers.E013"),
        ("TRACK_CACHE", None, "producers.E013"),
        ("TRACK_CACHE", [], "producers.E013"),
    ],
)
def test_a_value_that_can_t_be_is_an_error(settings: LazySettings, key: str, value: Any, expected: str) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, key: value}
    assert ids(producers.check_settings()) == [expected]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CONSENT", "newsroom.views.read_article"),
        ("CONSENT", lambda request: True),
        ("TRACK_ALLOWED_LABELS", []),
        ("TRACK_ALLOWED_LABELS", {"home", "about*"}),
        ("TRACK_ALLOWED_LABELS", ("home",)),
        ("MARKED_MODELS", ["newsroom.Article"]),
        ("TRACK_CACHE", "default"),
        ("TRUSTED_PROXIES", 2),
        ("RESPECT_DO_NOT_TRACK", True),
    ],
    ids=lambda one: one if isinstance(one, str) else type(one).__name__,
)
def test_a_value_that_can_be_is_no_fault(settings: LazySettings, key: str, value: Any) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, key: value}
    assert producers.check_settings() == []


@pytest.mark.parametrize("key", sorted(producers.MINIMA))
def test_a_number_that_would_stop_the_work_is_an_error(settings: LazySettings, key: str) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, key: producers.MINIMA[key] - 1}
    assert ids(producers.check_settings()) == ["producers.E008"]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"LEVELS": []}, "producers.E009"),
        ({"LEVELS": {"INFO": "high"}}, "producers.E009"),
        ({"DEFAULT_LEVEL": "INFOO"}, "producers.E010"),
        ({"READABLE_LEVEL": "INFOO"}, "producers.E010"),
        ({"READABLE_LEVEL": -1}, "producers.E010"),
        ({"DEFAULT_LEVEL": 40_000}, "producers.E010"),
    ],
)
def test_levels_are_numbers_by_name(settings: LazySettings, changed: dict[str, Any], expected: str) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, **changed}
    assert ids(producers.check_settings()) == [expected]


@pytest.mark.parametrize("rule", ["newsroom.models.no_such_rule", 7, never_awaited], ids=["missing", "7", "coroutine"])
def test_a_rule_for_what_may_be_seen_that_can_t_be_used_is_an_error(settings: LazySettings, rule: object) -> None:
    """Nobody would see anything by it."""
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": rule}
    assert ids(storage.check_visible_objects()) == ["storage.E002"]


@pytest.mark.parametrize(
    "rule", [None, "visibleobjects.no_secrets", lambda user, rows: rows], ids=["none", "by name", "itself"]
)
def test_a_rule_for_what_may_be_seen_is_a_function(settings: LazySettings, rule: object) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "VISIBLE_OBJECTS": rule}
    assert ids(storage.check_visible_objects()) == []


def test_a_level_may_be_a_number(settings: LazySettings) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "DEFAULT_LEVEL": 35, "READABLE_LEVEL": 0}
    assert ids(producers.check_settings()) == []


@pytest.mark.parametrize("name", ["my actions", "", 7])
def test_what_connected_models_call_their_actions_is_an_attribute(settings: LazySettings, name: object) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "ACTIONS_ATTR": name}
    assert ids(producers.check_settings()) == ["producers.E014"]


def test_a_spool_directory_that_is_no_path_is_an_error(settings: LazySettings) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_DIR": 5}
    assert ids(producers.check_spool()) == ["producers.E005"]


def test_what_can_t_be_read_is_said_once(settings: LazySettings) -> None:
    """The other checks leave it at that."""
    settings.FOOTFALL = ["no dict"]
    found = [
        *producers.check_settings(),
        *producers.check_spool(),
        *workers.check_broker(),
        *workers.check_broker_url(),
    ]
    assert ids(found) == ["producers.E001"]


def test_footfall_is_a_dict(settings: LazySettings) -> None:
    settings.FOOTFALL = [("TRANSPORT", "embedded")]
    assert ids(producers.check_settings()) == ["producers.E001"]


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([], ["producers.W001"]),
        (["django.contrib.sessions.middleware.SessionMiddleware", SCOPE], ["producers.W002"]),
        (["django.middleware.security.SecurityMiddleware", SCOPE], []),
        ([SCOPE, "django.contrib.sessions.middleware.SessionMiddleware"], []),
    ],
    ids=["missing", "behind the session", "behind security headers", "first"],
)
def test_the_middleware_has_its_place(settings: LazySettings, middleware: list[str], expected: list[str]) -> None:
    settings.MIDDLEWARE = middleware
    assert ids(producers.check_middleware()) == expected


def test_a_room_that_is_not_installed_is_named() -> None:
    """What is published would wait for ever, and nobody would say so."""
    assert producers.check_apps() == []
    with modify_settings(INSTALLED_APPS={"remove": ["footfall.workers", "footfall.spiders"]}):
        (message,) = producers.check_apps()
    assert message.id == "footfall.producers.W004"
    assert "'footfall.workers', 'footfall.spiders'" in message.msg


def test_a_spool_below_a_file_can_t_be_written(settings: LazySettings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_DIR": str(tmp_path / "file" / "spool")}
    assert ids(producers.check_spool()) == ["producers.E006"]


def test_a_spool_without_a_place_is_an_error(settings: LazySettings) -> None:
    settings.FOOTFALL = {"TRANSPORT": "embedded"}
    del settings.BASE_DIR
    assert ids(producers.check_spool()) == ["producers.E005"]


def test_a_spool_on_a_network_file_system_is_an_error(
    settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    share = tmp_path / "a share"
    share.mkdir()
    mounts.write_text(f"disk / ext4 rw 0 0\nserver:/x {str(share).replace(' ', chr(92) + '040')} nfs4 rw 0 0\n")

    assert producers.file_system_of(share / "spool", mounts) == "nfs4"
    assert producers.file_system_of(tmp_path, mounts) == "ext4"
    assert producers.file_system_of(tmp_path, tmp_path / "no such file") is None
    monkeypatch.setattr(producers, "file_system_of", lambda path: "nfs4")
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_DIR": str(share)}
    assert ids(producers.check_spool()) == ["producers.E007"]


def test_a_spool_that_everybody_may_write_is_a_warning(settings: LazySettings, tmp_path: Path) -> None:
    spool = tmp_path / "open"
    spool.mkdir()
    spool.chmod(0o777)
    settings.FOOTFALL = {**settings.FOOTFALL, "SPOOL_DIR": str(spool)}
    assert ids(producers.check_spool()) == ["producers.W003"]


@pytest.mark.parametrize(
    ("transport", "broker", "expected"),
    [
        ("embedded", None, ["workers.E001"]),
        ("rabbitmq", {"BROKER": EMBEDDED}, ["workers.E002"]),
        ("embedded", {"BROKER": OURS}, ["workers.E003"]),
        ("rabbitmq", {"BROKER": OURS, "OPTIONS": {"confirm_delivery": False}}, ["workers.W001"]),
        ("rabbitmq", {"BROKER": "dramatiq.brokers.redis.RedisBroker", "OPTIONS": {"host": "redis"}}, []),
        ("immediate", None, []),
    ],
)
def test_the_broker_goes_with_the_transport(
    settings: LazySettings, transport: str, broker: dict[str, Any] | None, expected: list[str]
) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": transport}
    settings.DRAMATIQ_BROKER = broker
    assert ids(workers.check_broker()) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("amqp://guest:guest@127.0.0.1:5672/", []),
        ("amqp://guest:guest@rabbit.internal/", ["workers.E005"]),
        ("amqp://rabbit.internal/", ["workers.E005"]),
        ("amqp://site:secret@rabbit.internal/;amqp://guest@other/", ["workers.E005"]),
        ("amqp://site:secret@rabbit.internal/footfall", []),
        (None, ["workers.E004"]),
    ],
)
def test_guest_stays_on_its_host(settings: LazySettings, url: str | None, expected: list[str]) -> None:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRANSPORT": "rabbitmq", "BROKER_URL": url}
    settings.DRAMATIQ_BROKER = {"BROKER": OURS, "OPTIONS": {}}
    messages = workers.check_broker_url()
    assert ids(messages) == expected
    assert "secret" not in str(messages)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"ENGINE": "django.db.backends.sqlite3"}, ["workers.W002", "workers.W003"]),
        (
            {
                "ENGINE": "django.db.backends.sqlite3",
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": "pragma journal_mode = wal"},
            },
            [],
        ),
        ({"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 60}, ["workers.W004"]),
        ({"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}, []),
    ],
    ids=["bare SQLite", "SQLite as it should be", "kept connections", "kept and checked"],
)
def test_databases_are_set_up_for_concurrent_writers(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], expected: list[str]
) -> None:
    monkeypatch.setattr(workers.connections, "settings", {"default": config})
    assert ids(workers.check_databases()) == expected
