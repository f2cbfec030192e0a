"""`{% footfall_script %}`: what it puts into a page, for whom, and what that costs."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.template import Context, RequestContext, Template
from django.test import AsyncClient, Client, RequestFactory
from django.urls import include, path

from footfall.producers.provenance import is_page_token

PAGE = Template("{% load footfall_script %}{% footfall_script %}")

HEAT_MAP = '<script defer src="/static/footfall/heatmap.js" data-url="/footfall/stats/"></script>'


def page(request: HttpRequest) -> HttpResponse:
    """A page that asks for nobody but by its script."""
    return HttpResponse(PAGE.render(RequestContext(request)))


class WithoutUrls:
    """A URLconf that forgot Footfall's."""

    urlpatterns = [path("page/", page)]


class OnlyPublishing:
    """A host without the tables."""

    urlpatterns = [path("page/", page), path("clicks/", include("footfall.producers.urls"))]


class Elsewhere:
    """Another prefix."""

    urlpatterns = [path("page/", page), path("deep/down/", include("footfall.storage.urls"))]


async def async_page(request: HttpRequest) -> HttpResponse:
    """The same, of an async view."""
    return page(request)


async def async_page_that_asks(request: HttpRequest) -> HttpResponse:
    """The same, of an async view that wants to know who it is."""
    await request.auser()
    return page(request)


urlpatterns = [
    path("page/", page),
    path("async/", async_page),
    path("async/asks/", async_page_that_asks),
    path("footfall/", include("footfall.storage.urls")),
]


@pytest.fixture(autouse=True)
def _urls(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


def editor(**fields: Any) -> User:
    return User(**{"pk": 1, "username": "editor", "is_staff": True} | fields)


def rendered(user: Any = None, template: Template = PAGE) -> str:
    request = RequestFactory().get("/page/")
    if user is not None:
        request.user = user
    return str(template.render(Context({"request": request})))


def test_a_page_gets_the_script_its_address_and_a_token() -> None:
    """External and deferred: nothing that a strict policy would refuse."""
    found = re.fullmatch(
        r'<script defer src="/static/footfall/footfall\.js" data-url="/footfall/track/" data-token="(\w+)"></script>',
        rendered(),
    )

    assert found is not None and is_page_token(found[1])


def test_every_visitor_gets_the_same_page() -> None:
    """So that it can be cached."""
    assert rendered() == rendered(AnonymousUser()) == rendered(User(pk=1, username="reader"))


def test_staff_gets_the_heat_map_as_well() -> None:
    """Behind the script, which it needs."""
    first, second = rendered(editor()).split("\n")

    assert "footfall.js" in first and second == HEAT_MAP


@pytest.mark.parametrize(
    "fields", [{"is_active": False}, {"is_staff": False}, {"is_staff": False, "is_superuser": True}]
)
def test_others_do_not(fields: dict[str, bool]) -> None:
    """Only active staff may read its numbers."""
    assert "heatmap" not in rendered(editor(**fields))


def test_the_user_may_stand_in_the_context() -> None:
    """Where there is no request in it."""
    assert HEAT_MAP in PAGE.render(Context({"user": editor()}))
    assert "heatmap" not in PAGE.render(Context({"user": AnonymousUser()}))
    assert "heatmap" not in PAGE.render(Context())


def test_a_nonce_goes_on_each_script() -> None:
    """Escaped, as all that is given."""
    template = Template("{% load footfall_script %}{% footfall_script nonce=nonce %}")
    request = RequestFactory().get("/")
    request.user = editor()
    found = template.render(Context({"request": request, "nonce": 'r4nd0m"><b>'}))

    assert found.count(' nonce="r4nd0m&quot;&gt;&lt;b&gt;"></script>') == 2 and "<b>" not in found


def test_addresses_are_those_of_the_urlconf(settings: Any) -> None:
    """Under whatever prefix."""
    settings.ROOT_URLCONF = Elsewhere

    assert 'data-url="/deep/down/track/"' in rendered(editor()) and 'data-url="/deep/down/stats/"' in rendered(editor())


def test_a_host_that_only_publishes_has_no_heat_map(settings: Any) -> None:
    """There is nothing to ask."""
    settings.ROOT_URLCONF = OnlyPublishing

    assert 'data-url="/clicks/track/"' in rendered(editor()) and "heatmap" not in rendered(editor())


def test_without_its_urls_it_says_what_to_include(settings: Any) -> None:
    """Where the programmer made the mistake."""
    settings.ROOT_URLCONF = WithoutUrls

    with pytest.raises(ImproperlyConfigured, match=re.escape('include("footfall.storage.urls")')):
        rendered()


def test_a_visitor_without_a_session_costs_no_query() -> None:
    """Nor is the session touched, so that caches need not tell cookies apart. No database here: the guard raises."""
    response = Client().get("/page/")

    assert b"footfall.js" in response.content
    assert "Vary" not in response.headers and not response.cookies


@pytest.mark.django_db
def test_a_visitor_with_a_session_costs_what_asking_for_the_user_costs(
    django_assert_num_queries: Callable[..., Any],
) -> None:
    """The session and the user, once; a page that asks for the user anyway pays nothing more."""
    client = Client()
    client.force_login(User.objects.create(username="editor", is_staff=True))

    with django_assert_num_queries(2):
        response = client.get("/page/")

    assert HEAT_MAP.encode() in response.content


@pytest.mark.django_db(transaction=True)
def test_in_an_async_view_only_who_was_asked_for_is_staff() -> None:
    """No query can be made there: the page comes all the same."""
    client = AsyncClient()
    client.force_login(User.objects.create(username="editor", is_staff=True))

    found = [async_to_sync(client.get)(f"/{address}/").content for address in ("async", "async/asks")]

    assert [b"footfall.js" in page for page in found] == [True, True]
    assert [HEAT_MAP.encode() in page for page in found] == [False, True]
