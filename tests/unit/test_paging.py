"""Pages of lists that nothing counts in full."""

from datetime import date

import pytest
from django.contrib import admin
from django.core.paginator import EmptyPage
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from footfall.storage.models import Action, DeadLetter, SpiderTally, Statistic, Tally
from footfall.storage.paging import COUNTED, BoundedPaginator

pytestmark = pytest.mark.django_db

DAY = date(2026, 6, 15)


def rows(count: int) -> QuerySet[Statistic]:
    Statistic.objects.bulk_create(Statistic(label=f"label {n}", day=DAY, counter=n) for n in range(count))
    return Statistic.objects.order_by("id")


@pytest.mark.parametrize(
    ("there", "count", "is_cut", "pages"),
    [
        pytest.param(0, 0, False, 1, id="none"),
        pytest.param(101, 101, False, 2, id="few"),
        pytest.param(COUNTED, COUNTED, False, COUNTED // 100, id="as many as are counted"),
        pytest.param(COUNTED + 1, COUNTED, True, COUNTED // 100, id="one more"),
    ],
)
def test_rows_are_counted_up_to_a_bound(there: int, count: int, is_cut: bool, pages: int) -> None:
    paginator = BoundedPaginator(rows(there), 100)

    assert (paginator.count, paginator.is_cut, paginator.num_pages) == (count, is_cut, pages)


def test_counting_is_one_query_that_reads_no_more_than_it_needs(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    paginator = BoundedPaginator(rows(3), 2)

    with django_assert_num_queries(1) as captured:
        assert (paginator.count, paginator.is_cut, paginator.num_pages) == (3, False, 2)
    assert f"LIMIT {COUNTED + 1}" in captured.captured_queries[0]["sql"]


def test_the_last_page_of_a_cut_list_is_full_and_no_page_follows() -> None:
    paginator = BoundedPaginator(rows(COUNTED + 50), 100)

    assert len(list(paginator.page(paginator.num_pages))) == 100
    with pytest.raises(EmptyPage):
        paginator.page(paginator.num_pages + 1)


@pytest.mark.parametrize("model", [Action, DeadLetter, SpiderTally, Statistic, Tally])
def test_every_list_that_grows_for_ever_is_paged_so(model: type) -> None:
    assert admin.site.get_model_admin(model).paginator is BoundedPaginator


def test_a_cut_list_says_that_there_are_more(admin_client: Client) -> None:
    """In its pages, and nowhere a number that is none; a short list is counted as ever."""
    url = reverse("admin:footfall_storage_spidertally_changelist")
    SpiderTally.objects.create(day=DAY, spider="first")
    assert "1 spider tally" in admin_client.get(url).content.decode()

    SpiderTally.objects.bulk_create(SpiderTally(day=DAY, spider=f"spider {n}") for n in range(COUNTED))
    page = admin_client.get(url + "?q=i").content.decode()

    assert f"more than {COUNTED} spider tallies" in " ".join(page.split())
    assert "results (" not in page
    assert 'href="?p=100&amp;q=i"' in page and "p=101" not in page


def test_a_cut_list_offers_to_tick_all_without_a_number(admin_client: Client) -> None:
    rows(COUNTED + 1)

    page = admin_client.get(reverse("admin:footfall_storage_statistic_changelist")).content.decode()

    assert "Select all of them, on this page and beyond" in page
    assert f"Select all {COUNTED}" not in page
