"""Who a request comes from: an address that a stranger can't choose, and a visitor told without a query."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.cache import SessionStore as CacheSession
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.backends.signed_cookies import SessionStore as CookieSession
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.functional import SimpleLazyObject

from footfall.producers.visitors import client_address, visitor_of

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    yield
    cache.clear()


def get(**meta: Any) -> HttpRequest:
    return RequestFactory(HTTP_USER_AGENT="Firefox").get("/", **meta)


def named(pk: int = 42) -> User:
    """A user as if read from the database."""
    return User.from_db("default", ["id"], [pk])


def visitor(request: HttpRequest, at: datetime = NOW) -> str:
    return visitor_of(request, at)


# -- The address


@pytest.mark.parametrize(
    ("trusted", "forwarded", "connected", "expected"),
    [
        pytest.param(0, None, "192.0.2.7", "192.0.2.7", id="the connection's own"),
        pytest.param(0, "198.51.100.1", "192.0.2.7", "192.0.2.7", id="a header that nobody trusts"),
        pytest.param(1, "198.51.100.1", "192.0.2.7", "198.51.100.1", id="behind one proxy"),
        pytest.param(1, "6.6.6.6, 198.51.100.1", "192.0.2.7", "198.51.100.1", id="a client that lies"),
        pytest.param(2, "6.6.6.6,198.51.100.1 , 10.0.0.1", "192.0.2.7", "198.51.100.1", id="behind two"),
        pytest.param(2, "198.51.100.1", "192.0.2.7", "192.0.2.7", id="one proxy was gone round"),
        pytest.param(1, None, "192.0.2.7", "192.0.2.7", id="no header"),
        pytest.param(1, "", "192.0.2.7", "192.0.2.7", id="an empty header"),
        pytest.param(1, "unknown", "192.0.2.7", "192.0.2.7", id="no address"),
        pytest.param(1, "<script>", "192.0.2.7", "192.0.2.7", id="markup"),
        pytest.param(1, "198.51.100.1:4711", "192.0.2.7", "198.51.100.1", id="with a port"),
        pytest.param(1, "[2001:db8:1:2:3:4:5:6]:4711", "192.0.2.7", "2001:db8:1:2::/64", id="IPv6 with a port"),
        pytest.param(0, None, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64", id="a customer's IPv6 network"),
        pytest.param(0, None, "::1", "::/64", id="a small IPv6 address"),
        pytest.param(0, None, "::ffff:192.0.2.7", "192.0.2.7", id="IPv4 in IPv6"),
        pytest.param(0, None, "fe80::1%eth0", "fe80::/64", id="IPv6 with a zone"),
        pytest.param(0, None, "", "", id="a socket without addresses"),
        pytest.param(1, "nonsense", "", "", id="nothing at all"),
    ],
)
def test_the_address_is_the_one_that_the_client_can_t_choose(
    trusted: int, forwarded: str | None, connected: str, expected: str, settings: Any
) -> None:
    """TRUSTED_PROXIES says how many entries on the right were written by proxies of the site's own."""
    settings.FOOTFALL = {**settings.FOOTFALL, "TRUSTED_PROXIES": trusted}
    header = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}

    assert client_address(get(REMOTE_ADDR=connected, **header)) == expected


def test_a_request_without_any_address_has_none() -> None:
    assert client_address(HttpRequest()) == ""


# -- The visitor


def test_a_user_who_is_known_by_now_is_the_visitor() -> None:
    """Plain, lazy and asked for, or kept by Django's middleware."""
    plain, lazy, kept, kept_async = get(), get(), get(), get()
    plain.user = named()
    lazy.user = SimpleLazyObject(named)
    assert lazy.user.pk == 42
    kept._cached_user = named()  # type: ignore[attr-defined]  # where the authentication middleware keeps it
    kept_async._acached_user = named()  # type: ignore[attr-defined]  # and that of a coroutine

    assert {visitor(request) for request in (plain, lazy, kept, kept_async)} == {"user:42"}


@pytest.mark.parametrize(
    "user",
    [AnonymousUser(), SimpleLazyObject(AnonymousUser), None, SimpleNamespace()],
    ids=["anonymous", "lazy", "None", "something else"],
)
def test_nobody_is_no_user(user: Any) -> None:
    """Anonymous, none, or something that is no user at all."""
    request = get()
    request.user = user
    str(user)

    assert visitor(request).startswith("hash:")


def test_a_user_whom_nobody_asked_for_is_not_looked_up() -> None:
    """That would be a query."""

    def look_up() -> User:
        raise AssertionError("looked up")

    request = get()
    request.user = SimpleLazyObject(look_up)  # type: ignore[assignment]  # as the middleware does

    assert visitor(request).startswith("hash:")


@pytest.mark.django_db
def test_a_session_says_who_it_is_once_it_was_read() -> None:
    """The user in it, else its key; one that nobody read says nothing."""
    stored = SessionStore()
    stored[SESSION_KEY] = "42"
    stored.save()
    anonymous = SessionStore()
    anonymous["basket"] = 3
    anonymous.save()
    of_user, of_nobody, unread = get(), get(), get()
    of_user.session, of_nobody.session = SessionStore(stored.session_key), SessionStore(anonymous.session_key)
    unread.session = SessionStore(stored.session_key)
    assert of_user.session.get(SESSION_KEY) and of_nobody.session.get("basket")

    with CaptureQueriesContext(connection) as queries:
        assert visitor(of_user) == "user:42"
        assert visitor(of_nobody) == f"session:{anonymous.session_key}"
        assert visitor(unread).startswith("hash:")
    assert len(queries) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("store", [SessionStore, CacheSession], ids=["database", "cache"])
def test_a_cookie_that_nobody_verified_is_not_believed(store: type[Any]) -> None:
    """A stranger could make up as many as he likes; the same holds when he puts something into it."""
    forged = []
    for n in range(3):
        request = get()
        request.session = store(f"{n}" * 32)
        assert request.session.get("basket") is None
        forged.append(visitor(request))
        request.session["basket"] = 1
        forged.append(visitor(request))

    assert len(set(forged)) == 1 and forged[0].startswith("hash:")


def test_a_session_in_a_cookie_has_no_key_that_lasts() -> None:
    """Its key is its content: it changes with it."""
    request = get()
    request.session = CookieSession("unsigned")
    request.session["basket"] = 3
    request.session.save()

    assert visitor(request).startswith("hash:")


@pytest.mark.django_db
def test_of_a_user_the_session_is_not_asked() -> None:
    """He is the same on his telephone."""
    request = get()
    request.user = named(7)
    request.session = SessionStore()
    request.session["basket"] = 3
    request.session.save()

    assert visitor(request) == "user:7"


@pytest.mark.django_db
def test_django_s_own_middleware_is_understood_under_asgi_too() -> None:
    """After ``await request.auser()``."""
    user = User.objects.create_user("ada", password="secret")
    request = get()
    request.session = SessionStore()
    request.session[SESSION_KEY] = str(user.pk)
    request.session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    request.session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    AuthenticationMiddleware(lambda _: HttpResponse()).process_request(request)
    assert async_to_sync(request.auser)() == user
    del request.session

    assert visitor(request) == f"user:{user.pk}"


def test_a_stranger_is_a_keyed_hash_of_address_agent_and_day(settings: Any) -> None:
    """Each of the three makes another one, and so does the key; nothing of them can be read in it."""
    same = [visitor(get(REMOTE_ADDR="192.0.2.7")), visitor(get(REMOTE_ADDR="192.0.2.7"))]
    others = [
        visitor(get(REMOTE_ADDR="192.0.2.8")),
        visitor(get(REMOTE_ADDR="192.0.2.7", HTTP_USER_AGENT="Chrome")),
        visitor(get(REMOTE_ADDR="192.0.2.7"), NOW + timedelta(days=1)),
    ]
    settings.SECRET_KEY = "another"
    others.append(visitor(get(REMOTE_ADDR="192.0.2.7")))

    assert same[0] == same[1]
    assert len({same[0], *others}) == 5
    assert all("192.0.2" not in one and "Firefox" not in one for one in [*same, *others])


@pytest.mark.parametrize(
    ("at", "day"),
    [("2026-06-14T21:59:59Z", 14), ("2026-06-14T22:00:00Z", 15), ("2026-06-15T21:59:59Z", 15)],
)
def test_the_day_is_the_sites(at: str, day: int) -> None:
    """Midnight is that of the site's time zone."""
    noon = datetime(2026, 6, day, 12, tzinfo=UTC)

    assert visitor(get(), datetime.fromisoformat(at)) == visitor(get(), noon)


@pytest.mark.parametrize("user_agent", ["", "a\0b", "a\ud800b", "x" * 100_000, "é"], ids=lambda text: repr(text[:4]))
def test_any_user_agent_makes_a_visitor(user_agent: str) -> None:
    """A request never fails by its headers."""
    assert visitor(get(HTTP_USER_AGENT=user_agent)).startswith("hash:")
