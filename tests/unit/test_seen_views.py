"""The end-points that mark as seen: POST only, and back to where the user came from, never elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse
from newsroom.models import Article, Column, Page

from footfall.storage.models import ViewMark
from footfall.storage.views import mark_all_as_viewed, mark_model_as_viewed
from footfall.storage.viewtracker import ViewTracker

pytestmark = pytest.mark.django_db

HERE = "http://testserver"


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


def post(user: Any, referer: str | None = None, *, secure: bool = False, **kwargs: Any) -> HttpResponse:
    """What mark_all_as_viewed answers, or mark_model_as_viewed where a model is given."""
    request = RequestFactory().post("/seen/", secure=secure)
    if referer is not None:
        request.META["HTTP_REFERER"] = referer
    request.user = user
    view = mark_model_as_viewed if "model" in kwargs else mark_all_as_viewed
    return view(request, **kwargs)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_vt_16_anything_but_post_is_a_405(reader: User, method: str) -> None:
    """Which says what is allowed, and marks nothing."""
    request = RequestFactory().generic(method, "/seen/")
    request.user = reader
    for response in (mark_all_as_viewed(request), mark_model_as_viewed(request, model=Article)):
        assert response.status_code == 405
        assert response.headers["Allow"] == "POST"
    assert not ViewMark.objects.exists()


def test_vt_16_a_post_marks_and_goes_back(reader: User) -> None:
    """To the page it came from, with its query."""
    article = Article.objects.create(title="a")
    response = post(reader, f"{HERE}/news/?page=2")

    assert (response.status_code, response.headers["Location"]) == (302, f"{HERE}/news/?page=2")
    assert ViewTracker(reader).has_viewed(article)
    assert not ViewTracker(User.objects.create(username="other")).has_viewed(article)


@pytest.mark.parametrize("named", ["class", "proxy", "instance", "label"])
def test_vt_16_a_model_is_marked_however_it_is_named(reader: User, named: str) -> None:
    article = Article.objects.create(title="a")
    model = {"class": Article, "proxy": Column, "instance": article, "label": "newsroom.article"}[named]
    response = post(reader, f"{HERE}/news/", model=model)

    assert (response.status_code, response.headers["Location"]) == (302, f"{HERE}/news/")
    assert list(ViewMark.objects.values_list("object_type", "object_id")) == [("newsroom.article", "")]


@pytest.mark.parametrize(("given", "expected"), [({}, "/"), ({"fallback_redirect_to": "/news/"}, "/news/")])
def test_vt_17_without_a_referer_it_goes_to_the_fallback(reader: User, given: dict[str, str], expected: str) -> None:
    for extra in ({}, {"model": Page}):
        response = post(reader, **given, **extra)
        assert (response.status_code, response.headers["Location"]) == (302, expected)
    assert ViewMark.objects.count() == 2


def test_vt_17_the_fallback_may_be_the_name_of_a_url(reader: User) -> None:
    assert post(reader, fallback_redirect_to="admin:index").headers["Location"] == "/admin/"


@pytest.mark.parametrize(
    "referer",
    [
        "https://evil.example/",
        "http://testserver.evil.example/",
        "http://testserver@evil.example/",
        "http://testserver:8000/",
        "//evil.example/",
        "///evil.example/",
        "http:///evil.example/",
        "\\\\evil.example\\",
        "/\\evil.example",
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:text/html,x",
        "ftp://testserver/",
        "http://[::1",
        "http://[bad]/",
        "\x00\x01",
        "\x7f\x80\xff\xfe",
        "\ud800",
        "http://testserver/\ud800",
        "http://testserver/" + "a" * 5000,
        "",
        " ",
    ],
)
def test_vt_18_any_other_referer_goes_to_the_fallback(reader: User, referer: str) -> None:
    """Another host, no http, or no URL at all."""
    response = post(reader, referer)
    assert (response.status_code, response.headers["Location"]) == (302, "/")


def test_vt_18_a_line_break_makes_no_header(reader: User) -> None:
    response = post(reader, f"{HERE}/a\r\nSet-Cookie: x=1")
    assert response.status_code == 302 and not response.cookies
    assert "\n" not in response.headers["Location"] and "Set-Cookie" not in response.headers


def test_vt_18_from_a_secure_page_to_a_secure_page_only(reader: User) -> None:
    assert post(reader, f"{HERE}/news/", secure=True).headers["Location"] == "/"
    assert post(reader, "https://testserver/news/", secure=True).headers["Location"] == "https://testserver/news/"


def test_vt_14_an_anonymous_post_stores_nothing_and_still_goes_back() -> None:
    """Also where there is no authentication at all."""
    for user in (AnonymousUser(), None):
        for extra in ({}, {"model": Article}):
            response = post(user, f"{HERE}/news/", **extra)
            assert (response.status_code, response.headers["Location"]) == (302, f"{HERE}/news/")
    bare = RequestFactory().post("/seen/")
    assert mark_all_as_viewed(bare).status_code == 302
    assert not ViewMark.objects.exists()


@pytest.mark.parametrize("label", ["newsroom.artcle", "x", "", "..", "a.b.c", "newsroom.", "é.ü", "%00", "\x00.\x00"])
def test_an_unknown_label_in_the_url_is_a_404(reader: User, label: str) -> None:
    for user in (reader, AnonymousUser()):
        with pytest.raises(Http404):
            post(user, f"{HERE}/", model=label)
    assert not ViewMark.objects.exists()


def test_vt_16_both_are_in_the_urlconf_by_name(reader: User) -> None:
    """For the request's user, through the middleware."""
    client = Client(headers={"referer": f"{HERE}/news/"})
    client.force_login(reader)
    everything = reverse("footfall:mark_all_as_viewed")
    for url in (reverse("footfall:mark_model_as_viewed", args=["newsroom.article"]), everything):
        assert client.get(url).status_code == 405
        response = client.post(url)
        assert (response.status_code, response.headers["Location"]) == (302, f"{HERE}/news/")
    assert client.post(reverse("footfall:mark_model_as_viewed", args=["newsroom.artcle"])).status_code == 404

    # The mark on everything took that on the model along.
    assert list(ViewMark.objects.values_list("user_id", "object_type")) == [(reader.pk, "")]
