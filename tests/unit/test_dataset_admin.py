"""Datasets in the admin: listed, read, and never changed; a page asks for its objects once a model."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from django.contrib.admin.sites import AdminSite
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, ArticleByDevice, ArticleDaily, ArticleTotals, Page, Topic

from footfall.storage.datasetadmin import TrackableDataAdmin

pytestmark = pytest.mark.django_db

LIST = "/admin/newsroom/articledaily/"
DAY = date(2026, 6, 15)


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("chief"))
    return client


def count_days(article: Article, days: int) -> None:
    ArticleDaily.objects.bulk_create(
        ArticleDaily(
            object_type="newsroom.article",
            object_id=str(article.pk),
            collected_during=DAY - timedelta(days=n),
            views=n + 1,
        )
        for n in range(days)
    )


def test_rows_are_listed_with_their_object_slot_and_counters(staff: Client) -> None:
    """What an object calls itself is escaped; of one that is gone the Ref is left."""
    article = Article.objects.create(title="<script>alert(1)</script>")
    count_days(article, 1)
    ArticleDaily.objects.create(object_type="newsroom.article", object_id="999999", collected_during=DAY, clicks=77)
    ArticleDaily.objects.create(object_type="newsroom.weather", object_id="rain", collected_during=DAY)
    ArticleDaily.objects.create(object_type="newsroom.page", object_id="no UUID", collected_during=DAY)

    page = staff.get(LIST).content.decode()

    for text in (f"newsroom.article:{article.pk}", "newsroom.article:999999", "77", "newsroom.weather:rain", "2026"):
        assert text in page
    assert "&lt;script&gt;alert(1)" in page and "<script>alert(1)" not in page


def test_a_page_asks_no_more_for_more_rows(staff: Client) -> None:
    """Its objects are loaded in one query."""
    asked = []
    for n in range(2):
        for _ in range(1 + 30 * n):
            count_days(Article.objects.create(title="News"), 3)
        with CaptureQueriesContext(connection) as queries:
            assert staff.get(LIST).status_code == 200
        asked.append(len(queries))

    assert asked[0] == asked[1] <= 8


def test_days_lead_through_the_list(staff: Client) -> None:
    """By the slot."""
    count_days(Article.objects.create(title="News"), 40)

    page = staff.get(LIST, {"collected_during__year": 2026, "collected_during__month": 5})

    assert page.status_code == 200
    assert {row.collected_during.month for row in page.context["cl"].result_list} == {5}


def test_one_row_can_be_read_and_not_changed(staff: Client) -> None:
    """Nor added, nor deleted."""
    count_days(Article.objects.create(title="News"), 1)
    row = ArticleDaily.objects.get()
    change = f"{LIST}{row.pk}/change/"

    page = staff.get(change).content.decode()

    assert f"newsroom.article:{row.object_id}" in page and "clicks" in page.lower() and "June 15, 2026" in page
    assert 'type="submit"' not in page.split('id="content"')[1]
    assert staff.post(change, {"views": 99}).status_code == 403
    assert staff.get(f"{LIST}add/").status_code == 403
    assert staff.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    row.refresh_from_db()
    assert row.views == 1


def test_whoever_may_not_look_sees_nothing(client: Client) -> None:
    """The permission to view is Django's."""
    client.force_login(User.objects.create_user("ada", is_staff=True))

    assert client.get(LIST).status_code == 403


def test_each_dataset_shows_what_it_has(rf: RequestFactory) -> None:
    """Totals have no slot, an own rule has more to its key; a subclass may say otherwise."""
    request = rf.get("/")

    class Short(TrackableDataAdmin):
        list_display = ("ref", "views")
        date_hierarchy = None

    totals = TrackableDataAdmin(ArticleTotals, AdminSite())
    devices = TrackableDataAdmin(ArticleByDevice, AdminSite())

    assert totals.get_list_display(request) == ("ref", "object_name", "views", "score", "peak")
    assert totals.date_hierarchy is None and devices.date_hierarchy == "collected_during"
    assert devices.get_list_display(request) == ("ref", "object_name", "collected_during", "device", "views")
    assert Short(ArticleDaily, AdminSite()).get_list_display(request) == ("ref", "views")
    assert not [fault for made in (totals, devices) for fault in made.check()]


def test_objects_of_several_models_take_one_query_each(rf: RequestFactory) -> None:
    """Whatever their keys are."""
    objects = [Article.objects.create(title="News"), Page.objects.create(title="About"), Topic.objects.create(slug="s")]
    for obj in objects:
        ArticleTotals.objects.create(object_type=obj._meta.label_lower, object_id=str(obj.pk))
    request = rf.get("/")
    request.user = User.objects.create_superuser("chief")

    with CaptureQueriesContext(connection) as asked:
        changes = TrackableDataAdmin(ArticleTotals, AdminSite()).get_changelist_instance(request)

    assert {row.counted for row in changes.result_list} == set(objects)
    assert len([query for query in asked if "newsroom_articletotals" not in query["sql"]]) == 3
