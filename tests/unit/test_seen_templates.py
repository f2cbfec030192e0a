"""Seen and unseen in templates, with one query for a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory
from django.utils.functional import SimpleLazyObject
from django.views.generic import ListView
from newsroom.models import Article, Page, Topic
from pytest_django import DjangoAssertNumQueries

from footfall.storage.loadedmarks import cached_marks
from footfall.storage.models import ViewMark
from footfall.storage.viewtracker import NoChangeTime, ViewTracker

pytestmark = pytest.mark.django_db

NOW = datetime(2024, 6, 15, 12, 0, tzinfo=UTC)
FILTERS = "{% for a in articles %}{% if a|unseen_by:user %}{{ a.title }} {% endif %}{% endfor %}"
FLAGS = "{% for a in articles|with_seen:user %}{% if not a.seen %}{{ a.title }} {% endif %}{% endfor %}"


@pytest.fixture
def reader() -> User:
    return User.objects.create(username="reader")


@pytest.fixture
def articles(reader: User) -> list[Article]:
    """A hundred, of which the reader has seen all but the last three."""
    Article.objects.bulk_create(Article(title=f"a{n:02}") for n in range(100))
    Article.objects.update(updated=NOW)
    made = list(Article.objects.order_by("title"))
    ViewTracker(reader).mark_viewed(made[:97])
    return made


def shown(template: str, **context: Any) -> str:
    return Template("{% load footfall_seen %}" + template).render(Context(context))


@pytest.mark.parametrize("template", [FILTERS, FLAGS])
def test_a_list_of_100_costs_one_query_beside_its_own(
    reader: User, articles: list[Article], template: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """With the request's lazy user, too."""
    user = SimpleLazyObject(lambda: reader)
    with django_assert_num_queries(2):
        assert shown(template, articles=Article.objects.order_by("title"), user=user) == "a97 a98 a99 "


def test_a_second_list_of_the_page_costs_no_query(
    reader: User, articles: list[Article], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """One for each model that occurs."""
    page: Any = Page.objects.create(title="p")
    page.updated = NOW
    with django_assert_num_queries(1):
        assert shown(FILTERS * 2, articles=articles, user=reader) == "a97 a98 a99 " * 2
        assert shown("{{ a|seen_by:user }} {{ a|unseen_by:user }}", a=articles[0], user=reader) == "True False"
    with django_assert_num_queries(1):
        assert shown("{{ p|seen_by:user }}{{ p|seen_by:user }}", p=page, user=reader) == "FalseFalse"


def test_a_mark_is_seen_by_the_page_that_follows(reader: User, articles: list[Article]) -> None:
    """Whatever is marked through the same user instance; what was loaded before is forgotten."""
    one = "{{ a|seen_by:user }}"
    with time_machine.travel(NOW + timedelta(days=999), tick=False) as clock:
        last, first = articles[99], articles[0]
        assert shown(one, a=last, user=reader) == "False"
        ViewTracker(reader).mark_instance_viewed(last)
        assert shown(one, a=last, user=reader) == "True"
        clock.shift(1)
        ViewTracker(reader).mark_unseen(last)
        assert shown(one, a=last, user=reader) == "False"
        clock.shift(1)
        ViewTracker(SimpleLazyObject(lambda: reader)).mark_model_viewed(Article)
        assert shown(one, a=last, user=reader) == "True"
        clock.shift(1)
        ViewTracker(reader).mark_unseen([first, last])
        assert shown(one, a=first, user=reader) == "False"
        ViewTracker(reader).set_watermark(datetime.now(UTC))
        assert shown(one, a=first, user=reader) == "True"


def test_only_marks_that_decide_are_loaded(reader: User, articles: list[Article]) -> None:
    """Not those which a mark on the model or on everything has overtaken."""
    rows = [ViewMark(user=reader, object_type="newsroom.topic", object_id=str(n), at=NOW) for n in range(50)]
    ViewMark.objects.bulk_create(rows)
    ViewMark.objects.bulk_create([ViewMark(user=reader, at=NOW + timedelta(days=1))])

    assert cached_marks(reader, reader.pk, "newsroom.topic")._marks.keys() == {("", "")}


def test_vt_14_an_anonymous_user_has_seen_everything(
    articles: list[Article], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        for nobody in (None, AnonymousUser()):
            assert shown(FILTERS + FLAGS, articles=articles, user=nobody) == ""
            assert shown("{% unseen_count articles user %}", articles=Article.objects.all(), user=nobody) == "0"


def test_a_filter_never_asks_an_object_of_its_own_flag(reader: User, articles: list[Article]) -> None:
    """It may be another user's."""
    other = User.objects.create(username="other")
    flagged = ViewTracker(other).flag(articles)
    assert shown(FILTERS, articles=flagged, user=reader) == "a97 a98 a99 "


def test_vt_13_an_object_that_tells_no_time_is_an_error(reader: User) -> None:
    Topic.objects.create(slug="t")
    with pytest.raises(NoChangeTime, match=r"newsroom\.Topic"):
        shown(FILTERS, articles=Topic.objects.all(), user=reader)


@pytest.mark.parametrize("wrong", [7, "newsroom.article"])
def test_what_is_no_object_or_no_user_is_an_error(reader: User, wrong: Any, articles: list[Article]) -> None:
    with pytest.raises(TypeError, match="not a model instance"):
        shown("{{ a|seen_by:user }}", a=wrong, user=reader)
    with pytest.raises(TypeError, match="is needed"):
        shown("{{ a|seen_by:user }}", a=articles[0], user=wrong)


@pytest.mark.parametrize(
    "nothing", [{}, {"a": None}, {"a": Article(title="a preview")}], ids=["missing", "None", "new"]
)
def test_where_there_is_no_object_nothing_is_new(reader: User, nothing: dict[str, Any]) -> None:
    """A page with a gap in it is a page still."""
    assert shown("{% if a|unseen_by:user %}new{% endif %}{{ a|seen_by:user }}", user=reader, **nothing) == "True"
    assert shown("{% unseen_count a %}", user=reader, **nothing) == "0"


def test_of_a_list_what_is_saved_is_asked(reader: User, articles: list[Article]) -> None:
    """And no list is an empty one."""
    template = "{% for a in all|with_seen:user %}{{ a.seen }} {% endfor %}"
    assert shown(template, user=reader, all=[Article(title="a preview"), articles[0]]).split()[0] == "True"
    assert shown(template, user=reader, all=None) == shown(template, user=reader) == ""


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("{% unseen_count articles %}", "3"),
        ("{% unseen_count articles user %}", "3"),
        ("{% unseen_count articles other %}", "100"),
        ("{% unseen_count articles as n %}[{{ n }}]", "[3]"),
        ("{% unseen_count articles other as n %}[{{ n }}]", "[100]"),
        ("{% unseen_count 'newsroom.article' %}", "3"),
        ("{% unseen_count manager %}", "3"),
        ("{% unseen_count loaded %}", "3"),
        ("{% unseen_count part %}", "2"),
        ("{% unseen_count objects=articles user=other %}", "100"),
        ("{% unseen_count articles updated_field='updated' %}", "3"),
        ("{% unseen_count loaded updated_field='updated' %}", "3"),
    ],
)
def test_a_badge_costs_one_query(
    reader: User,
    articles: list[Article],
    tag: str,
    expected: str,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """Of a queryset, a label, a list, a slice; for the user of the context or another; into a variable."""
    rows = Article.objects.order_by("title")
    context = {"articles": rows, "manager": Article.objects, "loaded": articles, "part": rows[90:99]}
    other = User.objects.create(username="other")
    with django_assert_num_queries(1):
        assert shown(tag, **context, user=reader, other=other) == expected


class Articles(ListView):  # type: ignore[type-arg]  # takes none at run time
    model = Article
    ordering = "title"
    template_name = "unused"

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """What the tag says in this view's context."""
        template = Template("{% load footfall_seen %}{% unseen_count %}")
        return HttpResponse(template.render(Context({**context, "request": self.request})))


class LoadedArticles(Articles):
    def get_queryset(self) -> Any:
        return list(super().get_queryset())


@pytest.mark.parametrize("view", [Articles, LoadedArticles])
@pytest.mark.parametrize(("page", "expected"), [(None, "3"), (4, "0"), (5, "3")])
def test_in_a_list_view_it_counts_in_the_list_of_the_page(
    reader: User, articles: list[Article], view: type[Articles], page: int | None, expected: str
) -> None:
    """The page's, where it is paginated; for the request's user."""
    request: HttpRequest = RequestFactory().get("/", {} if page is None else {"page": page})
    request.user = reader
    response = view.as_view(paginate_by=None if page is None else 20)(request)

    assert response.content.decode() == expected


def test_what_the_badge_needs_and_does_not_find_is_named(reader: User) -> None:
    with pytest.raises(TemplateSyntaxError, match="no 'object_list' in the context"):
        shown("{% unseen_count %}", user=reader)
    with pytest.raises(TemplateSyntaxError, match="no 'user' in the context"):
        shown("{% unseen_count 'newsroom.article' %}")
    for wrong in ("{% unseen_count 7 %}", "{% unseen_count user %}"):
        with pytest.raises(TemplateSyntaxError, match="a queryset, a list or a model, not"):
            shown(wrong, user=reader)
    with pytest.raises(LookupError, match=r"Did you mean newsroom\.Article"):
        shown("{% unseen_count 'newsroom.artcle' %}", user=reader)
    with pytest.raises(NoChangeTime, match=r"newsroom\.Page"):
        shown("{% unseen_count rows %}", rows=Page.objects.all(), user=reader)
