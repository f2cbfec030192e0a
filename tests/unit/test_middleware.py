"""Each HTTP request is one scope, under WSGI and ASGI."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from footfall.producers import publish_labels
from footfall.producers.messages import Event, decode_unit
from footfall.producers.middleware import ScopeMiddleware
from footfall.producers.scoping import current_scope
from footfall.producers.tail import journals, read_slice


def count(request: HttpRequest) -> HttpResponse:
    """A view that says three things."""
    publish_labels("a|b")
    publish_labels("c")
    return HttpResponse("counted")


async def count_async(request: HttpRequest) -> HttpResponse:
    """The same in a coroutine, partly in a thread."""
    publish_labels("a")
    await asyncio.sleep(0)
    await sync_to_async(publish_labels)("b|c")
    return HttpResponse("counted")


def fail(request: HttpRequest) -> HttpResponse:
    """A view that says something and fails."""
    publish_labels("a")
    raise RuntimeError("a fault of the view")


async def fail_async(request: HttpRequest) -> HttpResponse:
    """The same in a coroutine."""
    publish_labels("a")
    raise RuntimeError("a fault of the view")


def fail_halfway(request: HttpRequest) -> HttpResponse:
    """A view that commits one thing and not another."""
    publish_labels("outside")
    with transaction.atomic():
        publish_labels("committed")
    with transaction.atomic():
        publish_labels("ghost")
        raise RuntimeError("a fault of the view")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    """A view whose body goes on talking when the middleware is done."""

    async def body() -> AsyncIterator[bytes]:
        publish_labels("b")
        yield b"counted"

    def parts() -> Any:
        publish_labels("b")
        yield b"counted"

    publish_labels("a")
    return StreamingHttpResponse(body() if hasattr(request, "scope") else parts())


urlpatterns = [
    path("count", count),
    path("count_async", count_async),
    path("fail", fail),
    path("fail_async", fail_async),
    path("fail_halfway", fail_halfway),
    path("stream", stream),
]

Units = Callable[[], list[list[Event]]]


@pytest.fixture(autouse=True)
def _site(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["footfall.producers.middleware.ScopeMiddleware"]


@pytest.fixture
def units(spool_directory: Path) -> Units:
    def read() -> list[list[Event]]:
        slices = [read_slice(path, 0, max_lines=10**6, max_bytes=10**8) for path in journals(spool_directory)]
        lines = [decode_unit(line) for piece in slices if piece for _, line in piece.lines]
        return [[msgspec.json.decode(raw, type=Event) for raw in unit.increments] for unit in lines if unit]

    return read


def labels(units: Units) -> list[list[str]]:
    return [[str(event.label.label) for event in unit] for unit in units()]  # type: ignore[union-attr]


def get(name: str, kind: str, **headers: str) -> Any:
    """One request by the WSGI or the ASGI test client; a view's exception becomes a 500."""
    if kind == "wsgi":
        return Client(raise_request_exception=False, headers=headers or None).get(f"/{name}")
    client = AsyncClient(raise_request_exception=False)
    return async_to_sync(client.get)(f"/{name}", headers=headers or None)


both = pytest.mark.parametrize("kind", ["wsgi", "asgi"])


def show(request: HttpRequest) -> HttpResponse:
    """Whether the scope is that of this request."""
    scope = current_scope()
    return HttpResponse(str(scope is not None and scope.request is not None and scope.request.path == request.path))


async def show_async(request: HttpRequest) -> HttpResponse:
    """The same in a coroutine."""
    return show(request)


urlpatterns += [path("show", show), path("show_async", show_async)]


@both
@pytest.mark.parametrize("view", ["show", "show_async"])
def test_the_scope_knows_its_request(kind: str, view: str, units: Units) -> None:
    """Whose visitor is counted where no request is given."""
    assert get(view, kind).content == b"True"


@both
@pytest.mark.parametrize("view", ["count", "count_async"])
def test_a_request_is_one_write(kind: str, view: str, units: Units) -> None:
    """Whatever the view is and whatever serves it."""
    assert get(view, kind).content == b"counted"
    assert get(view, kind).content == b"counted"

    assert labels(units) == [["a", "b", "c"]] * 2
    assert current_scope() is None


@both
def test_the_user_agent_is_the_requests(kind: str, units: Units) -> None:
    """Events take it without being given the request."""
    get("count", kind, **{"user-agent": "Mozilla/5.0 Firefox"})
    get("count", kind)

    assert [{event.user_agent for event in unit} for unit in units()] == [{"Mozilla/5.0 Firefox"}, {""}]


@both
@pytest.mark.parametrize("view", ["fail", "fail_async"])
def test_an_exception_in_a_view_flushes_what_it_had_said(kind: str, view: str, units: Units) -> None:
    """The request fails as it would without Footfall."""
    assert get(view, kind).status_code == 500

    assert labels(units) == [["a"]]
    assert current_scope() is None


@pytest.mark.django_db(transaction=True)
def test_an_exception_drops_only_what_is_rolled_back(units: Units) -> None:
    """Committed events and those outside of transactions stay."""
    assert get("fail_halfway", "wsgi").status_code == 500

    assert labels(units) == [["outside", "committed"]]


@pytest.mark.django_db(transaction=True)
def test_with_atomic_requests_a_request_is_all_or_nothing(units: Units, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view that fails has said nothing; one that succeeds is one write after its commit."""
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", value=True)

    assert get("fail", "wsgi").status_code == 500
    assert units() == []
    assert get("count", "wsgi").status_code == 200
    assert labels(units) == [["a", "b", "c"]]


@both
def test_what_a_streamed_body_says_is_not_lost(kind: str, units: Units) -> None:
    """It comes after the request's unit, in one of its own."""
    response = get("stream", kind)
    if kind == "wsgi":
        assert b"".join(response.streaming_content) == b"counted"
    else:

        async def read() -> list[bytes]:
            return [part async for part in response.streaming_content]

        assert async_to_sync(read)() == [b"counted"]

    assert labels(units) == [["a"], ["b"]]


def test_requests_side_by_side_are_units_of_their_own(units: Units) -> None:
    """Under ASGI they share a thread."""

    async def serve() -> None:
        client = AsyncClient()
        await asyncio.gather(*(client.get("/count_async") for _ in range(5)))

    async_to_sync(serve)()

    assert labels(units) == [["a", "b", "c"]] * 5


def test_the_middleware_is_async_where_its_handler_is() -> None:
    """So that Django puts no thread in between."""

    async def handler(request: HttpRequest) -> HttpResponse:
        return HttpResponse()

    assert asyncio.iscoroutinefunction(ScopeMiddleware(handler)) or ScopeMiddleware(handler).is_async
    assert not ScopeMiddleware(lambda request: HttpResponse()).is_async


def test_what_other_middleware_publishes_belongs_to_the_same_unit(units: Units, settings: Any) -> None:
    """Where Footfall's stands first."""
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.counting"]

    get("count", "wsgi")

    assert labels(units) == [["before", "a", "b", "c", "after"]]


def counting(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """A middleware of the site's that publishes, too."""

    def middleware(request: HttpRequest) -> HttpResponse:
        publish_labels("before")
        response = get_response(request)
        publish_labels("after")
        return response

    return middleware
