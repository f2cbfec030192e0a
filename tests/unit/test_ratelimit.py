"""How many labels a client may count in a minute."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import time_machine
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.http import HttpRequest
from django.test import RequestFactory

from footfall.producers import ratelimit
from footfall.producers.ratelimit import seconds_to_wait

NOON = 1_781_524_800  # 2026-06-15 12:00 UTC, the beginning of a minute


class BrokenCache(LocMemCache):
    """A cache whose server is away."""

    def add(self, *args: Any, **kwargs: Any) -> bool:
        raise ConnectionError("redis://:secret@cache/0 is away")


class ForgetfulCache(LocMemCache):
    """A cache that has thrown the key away again."""

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        raise ValueError(f"Key {key!r} not found")


class SilentCache(LocMemCache):
    """A cache that answers nothing where its server is away: some can be set so."""

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> Any:
        return None


@pytest.fixture(autouse=True)
def _limit_of_ten(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_LABELS_PER_MINUTE": 10}
    monkeypatch.setattr(ratelimit, "_complained", {})
    cache = caches["default"]
    cache.clear()
    with time_machine.travel(NOON, tick=False):
        yield
    cache.clear()


def request(address: str = "192.0.2.1", **headers: Any) -> HttpRequest:
    return RequestFactory(REMOTE_ADDR=address, **headers).post("/footfall/track/")


def test_labels_are_counted_not_requests() -> None:
    """Up to the limit, and one more is too many."""
    assert [seconds_to_wait(request(), labels) for labels in (4, 5, 1)] == [0, 0, 0]
    assert seconds_to_wait(request(), 1) == 60


def test_the_next_minute_begins_anew() -> None:
    """The wait is until then."""
    with time_machine.travel(NOON + 45, tick=False):
        assert seconds_to_wait(request(), 10) == 0
        assert seconds_to_wait(request(), 1) == 15
    with time_machine.travel(NOON + 60, tick=False):
        assert seconds_to_wait(request(), 10) == 0


def test_each_client_has_its_own() -> None:
    """An IPv6 customer is a /64 network; a mapped IPv4 address is that address."""
    assert seconds_to_wait(request("192.0.2.1"), 10) == 0
    assert seconds_to_wait(request("::ffff:192.0.2.1"), 1) == 60
    assert seconds_to_wait(request("192.0.2.2"), 10) == 0
    assert seconds_to_wait(request("2001:db8:0:1::1"), 10) == 0
    assert seconds_to_wait(request("2001:db8:0:1:ffff::2"), 1) == 60
    assert seconds_to_wait(request("2001:db8:0:2::1"), 10) == 0


def test_a_proxy_is_not_the_client(settings: Any) -> None:
    """Where the site trusts it; and the client can't choose another address by writing one to the left."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRUSTED_PROXIES": 1}

    assert seconds_to_wait(request("10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1"), 10) == 0
    assert seconds_to_wait(request("10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.2"), 10) == 0
    assert seconds_to_wait(request("10.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.7, 192.0.2.1"), 1) == 60


def test_the_address_is_not_in_the_cache() -> None:
    """Nor anything that stays the same from minute to minute."""
    seconds_to_wait(request("192.0.2.1"), 1)
    with time_machine.travel(NOON + 60, tick=False):
        seconds_to_wait(request("192.0.2.1"), 1)
    keys = list(caches["default"]._cache)  # type: ignore[attr-defined]  # a LocMemCache keeps its keys there

    assert len(keys) == 2
    assert not any("192.0.2.1" in key for key in keys)


@pytest.mark.parametrize(
    "backend",
    [
        f"{__name__}.BrokenCache",
        f"{__name__}.ForgetfulCache",
        f"{__name__}.SilentCache",
        "django.core.cache.backends.dummy.DummyCache",
        "nowhere.Cache",
    ],
)
def test_a_cache_that_does_not_count_lets_pass(backend: str, settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once in a while, without what the cache said: that may hold its password."""
    settings.CACHES = {"default": {"BACKEND": backend}}

    assert [seconds_to_wait(request(), 20) for _ in range(50)] == [0] * 50
    assert len(caplog.records) == 1
    assert "does not count" in caplog.text and "secret" not in caplog.text


def test_an_unknown_alias_lets_pass(settings: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A misspelled setting stops no visitor."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_CACHE": "nowhere"}

    assert seconds_to_wait(request(), 1000) == 0
    assert "'nowhere' does not count (InvalidCacheBackendError)" in caplog.text


def test_the_cache_is_the_one_of_the_setting(settings: Any) -> None:
    """A site may give the limit a cache of its own."""
    memory = "django.core.cache.backends.locmem.LocMemCache"
    settings.CACHES = {name: {"BACKEND": memory, "LOCATION": f"test-{name}"} for name in ("default", "limits")}
    settings.FOOTFALL = {**settings.FOOTFALL, "TRACK_CACHE": "limits"}

    seconds_to_wait(request(), 1)

    assert not caches["default"]._cache  # type: ignore[attr-defined]  # a LocMemCache keeps its keys there
    assert len(caches["limits"]._cache) == 1  # type: ignore[attr-defined]  # likewise
    caches["limits"].clear()


@pytest.mark.parametrize("address", ["", "unix:", "no address"])
def test_clients_without_an_address_are_not_limited(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Behind a socket file they would all be one, and count nothing together."""
    assert [seconds_to_wait(request(address), 20) for _ in range(3)] == [0, 0, 0]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "TRUSTED_PROXIES" in caplog.text


def test_a_limit_that_is_reached_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """Without the address: behind a proxy that is not trusted all visitors are one client."""
    for _ in range(100):
        seconds_to_wait(request(), 20)

    assert len(caplog.records) == 1
    assert "TRUSTED_PROXIES" in caplog.text and "192.0.2.1" not in caplog.text
