"""`TrackViewMixin` and `track_view`: a detail page says that it was seen, once it has answered."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.template import TemplateDoesNotExist, engines
from django.template.response import TemplateResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from django.views.generic import DetailView
from newsroom.models import Article, Column, Page, Topic
from pytest_django import DjangoAssertNumQueries

from footfall.producers.messages import Ref, View
from footfall.producers.testing import Captured, captured_messages
from footfall.producers.viewtracking import TrackViewMixin, track_view
from footfall.storage.viewtracker import ViewTracker
from footfall.workers.testing import drain

pytestmark = pytest.mark.django_db

Answer = Callable[..., Any]
BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}


class Shown(TrackViewMixin, DetailView):  # type: ignore[type-arg]  # takes none at run time
    model = Article

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return HttpResponse("shown")


class ShownToMembers(TrackViewMixin, LoginRequiredMixin, DetailView):  # type: ignore[type-arg]  # likewise
    model = Article
    login_url = "/login/"


class ShownByTemplate(TrackViewMixin, DetailView):  # type: ignore[type-arg]  # likewise
    model = Article

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        return TemplateResponse(self.request, engines["django"].from_string(self.kwargs["template"]), context)


class ShownAsync(TrackViewMixin, DetailView):  # type: ignore[type-arg]  # likewise
    model = Article

    async def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        self.object = await Article.objects.aget(pk=kwargs["pk"])
        return HttpResponse("shown")


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="a")


def ask(view: Answer, user: Any, method: str = "GET", **kwargs: Any) -> list[Captured]:
    """What is published by a request that the view answers."""
    request = RequestFactory().generic(method, "/")
    request.user = user
    with captured_messages() as captured:
        response = (async_to_sync(view) if iscoroutinefunction(view) else view)(request, **kwargs)
        if getattr(response, "is_rendered", True) is False:
            response.render()
    return captured


def views(captured: list[Captured]) -> list[tuple[str, Ref | None]]:
    assert all(isinstance(one.event, View) for one in captured)
    return [(one.event.user, one.event.object) for one in captured if isinstance(one.event, View)]


def answering(status: int) -> Answer:
    return track_view(Article)(lambda request, pk: HttpResponse(status=status))


def test_a_detail_view_says_who_saw_what(reader: User, article: Article) -> None:
    assert views(ask(Shown.as_view(), reader, pk=article.pk)) == [
        (str(reader.pk), Ref("newsroom.article", str(article.pk)))
    ]


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS", "PUT"])
def test_only_a_get_is_a_view(reader: User, article: Article, method: str) -> None:
    """By a view class and by a function."""
    assert ask(Shown.as_view(), reader, method, pk=article.pk) == []
    assert ask(answering(200), reader, method, pk=article.pk) == []


@pytest.mark.parametrize("status", [200, 204, 299, 300, 302, 304, 399, 400, 403, 404, 410, 500])
def test_only_the_page_itself_is_a_view(reader: User, article: Article, status: int) -> None:
    """Also from the browser's cache; not a redirect, which leads elsewhere."""
    assert len(ask(answering(status), reader, pk=article.pk)) == (status < 300 or status == 304)


def test_a_view_that_raises_was_not_seen(reader: User, article: Article) -> None:
    with captured_messages() as captured, pytest.raises(Http404):
        Shown.as_view()(request_of(reader), pk=article.pk + 1)
    assert captured == []

    @track_view(Article)
    def broken(request: HttpRequest, pk: int) -> HttpResponse:
        raise RuntimeError

    with captured_messages() as captured, pytest.raises(RuntimeError):
        broken(request_of(reader), pk=article.pk)
    assert captured == []


def request_of(user: Any) -> HttpRequest:
    request: HttpRequest = RequestFactory().get("/")
    request.user = user
    return request


def test_a_template_counts_when_it_is_rendered(reader: User, article: Article) -> None:
    """Not when rendering fails."""
    assert len(ask(ShownByTemplate.as_view(), reader, pk=article.pk, template="{{ object }}")) == 1
    with captured_messages() as captured:
        response = ShownByTemplate.as_view()(request_of(reader), pk=article.pk, template="{% include 'no/such.html' %}")
        assert captured == []
        with pytest.raises(TemplateDoesNotExist):
            response.render()
    assert captured == []


def test_who_is_turned_away_has_seen_nothing(article: Article) -> None:
    """The redirect to the login page is no view."""
    assert ask(ShownToMembers.as_view(), AnonymousUser(), pk=article.pk) == []


def test_vt_14_an_anonymous_user_publishes_nothing(
    article: Article, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """And nobody asks what was seen."""

    def never(request: HttpRequest, **kwargs: Any) -> None:
        raise AssertionError

    for nobody in (None, AnonymousUser()):
        assert ask(Shown.as_view(), nobody, pk=article.pk) == []
        with django_assert_num_queries(0):
            assert ask(track_view(never)(lambda request: HttpResponse()), nobody) == []
            assert ask(answering(200), nobody, pk=article.pk) == []


def test_a_site_without_authentication_publishes_nothing(article: Article) -> None:
    """There is no request.user, nor request.auser."""
    for view in (Shown.as_view(), answering(200)):
        with captured_messages() as captured:
            view(RequestFactory().get("/"), pk=article.pk)
        assert captured == []
    with captured_messages() as captured:
        async_to_sync(track_view(Article)(later))(RequestFactory().get("/"), pk=article.pk)
    assert captured == []


async def later(request: HttpRequest, **kwargs: Any) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize("name", ["pk", "id", "object_id"])
def test_the_url_s_argument_names_the_object(
    reader: User, name: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Without a query, written as Python writes the key; a proxy is its base."""
    key = uuid.uuid4()
    cases: list[tuple[Any, Any, Ref]] = [
        (Article, 7, Ref("newsroom.article", "7")),
        (Article, "007", Ref("newsroom.article", "7")),
        (Column, 7, Ref("newsroom.article", "7")),
        (Page, key, Ref("newsroom.page", str(key))),
        (Page, key.hex, Ref("newsroom.page", str(key))),
        (Topic, "café", Ref("newsroom.topic", "café")),
    ]
    with django_assert_num_queries(0):
        for model, given, expected in cases:
            for view in (lambda request, **kwargs: HttpResponse(), later):
                assert views(ask(track_view(model)(view), reader, **{name: given})) == [(str(reader.pk), expected)]


@pytest.mark.parametrize(
    ("model", "given"),
    [
        (Article, "x"),
        (Article, "9" * 30),
        (Article, ""),
        (Page, "x"),
        (Topic, "x" * 51),
        (Topic, ""),
        (Topic, "a\0b"),
        (Topic, "\ud800"),
    ],
)
def test_a_stranger_s_key_that_fits_no_row_publishes_nothing(reader: User, model: Any, given: str) -> None:
    """It is no error of the site's."""
    assert ask(track_view(model)(lambda request, pk: HttpResponse()), reader, pk=given) == []


def test_a_callable_says_what_was_seen(reader: User, article: Article) -> None:
    """From all that the view got; also that it was nothing. It is asked after the view."""
    order: list[str] = []

    def by_title(request: HttpRequest, title: str) -> Article | None:
        order.append("target")
        return Article.objects.filter(title=title).first()

    def view(request: HttpRequest, title: str) -> HttpResponse:
        order.append("view")
        return HttpResponse()

    seen = Ref("newsroom.article", str(article.pk))
    tracked = track_view(by_title)(view)
    assert views(ask(tracked, reader, title="a")) == [(str(reader.pk), seen)]
    assert ask(tracked, reader, title="b") == []
    assert order == ["view", "target"] * 2
    assert tracked.__name__ == "view"


def test_a_programmer_s_error_raises(reader: User) -> None:
    """An unsaved object, no object, no argument, no target."""
    answer: Answer = lambda request, **kwargs: HttpResponse()  # noqa: E731 - a view of one line
    with pytest.raises(ValueError, match="not saved"):
        ask(track_view(lambda request: Article(title="new"))(answer), reader)
    with pytest.raises(TypeError, match="not a model instance"):
        ask(track_view(lambda request: "newsroom.article")(answer), reader)  # type: ignore[arg-type,return-value]
    with pytest.raises(ImproperlyConfigured, match=r"newsroom\.Article has no argument pk, id, object_id"):
        ask(track_view(Article)(answer), reader, slug="a")
    with pytest.raises(TypeError, match="takes a model or a callable"):
        track_view("newsroom.article")  # type: ignore[arg-type]


@track_view(Article)
async def read_async(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse("read")


@track_view(lambda request, pk: Article.objects.get(pk=pk))
async def read_async_by_query(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse("read")


async def _found(request: HttpRequest, pk: int) -> Article:
    return await Article.objects.aget(pk=pk)


@track_view(_found)  # type: ignore[arg-type]  # of an async view it may be async
async def read_async_by_coroutine(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse("read")


@track_view(Article)
def read(request: HttpRequest, pk: int) -> HttpResponse:
    return HttpResponse("read")


urlpatterns = [
    path("class/<int:pk>/", Shown.as_view()),
    path("asyncclass/<int:pk>/", ShownAsync.as_view()),
    path("read/<int:pk>/", read),
    path("async/<int:pk>/", read_async),
    path("query/<int:pk>/", read_async_by_query),
    path("coroutine/<int:pk>/", read_async_by_coroutine),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("page", ["class", "asyncclass", "read", "async", "query", "coroutine"])
@pytest.mark.parametrize("asgi", [False, True], ids=["wsgi", "asgi"])
@override_settings(ROOT_URLCONF=__name__)
def test_the_page_is_seen_once_the_worker_was_there(reader: User, article: Article, page: str, asgi: bool) -> None:
    """By a real request through all the middleware, whose user is lazy; sync and async views under either server."""
    if asgi:

        async def request() -> HttpResponse:
            client = AsyncClient()
            await client.aforce_login(reader)
            return await client.get(f"/{page}/{article.pk}/", headers=BROWSER)

        assert async_to_sync(request)().status_code == 200
    else:
        client = Client(headers=BROWSER)
        client.force_login(reader)
        assert client.get(f"/{page}/{article.pk}/").status_code == 200

    assert not ViewTracker(reader).has_viewed(article)
    assert drain() == 1
    assert ViewTracker(reader).has_viewed(article)
