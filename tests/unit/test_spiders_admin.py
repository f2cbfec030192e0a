"""What an operator meets: validation, the admin, the system check."""

from typing import Any

import pytest
from django.contrib.admin import AdminSite
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from footfall.spiders.admin import SpiderAdmin
from footfall.spiders.checks import check_table_is_filled
from footfall.spiders.models import Spider

pytestmark = pytest.mark.django_db


def saved_through_admin(spider: Spider | None, **values: Any) -> Spider:
    """Fill in the admin's form and save it as the admin's view would."""
    request = RequestFactory().post("/")
    spiders = SpiderAdmin(Spider, AdminSite())
    data = {"active": "on", **values}
    form = spiders.get_form(request, spider, change=spider is not None)(data, instance=spider)
    assert form.is_valid(), form.errors
    saved: Spider = form.save(commit=False)
    spiders.save_model(request, saved, form, spider is not None)
    saved.refresh_from_db()
    return saved


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param("bot(", "not a regular expression", id="doesn't compile"),
        pytest.param("(bot)*", "empty string", id="matches the empty string"),
        pytest.param("(?i)chrome", "browser that people use", id="matches a browser"),
        pytest.param("Mozilla", "browser that people use", id="matches the bare word"),
        pytest.param("b" * 501, "500 characters", id="too long"),
    ],
)
def test_a_pattern_that_would_do_harm_is_refused(pattern: str, reason: str) -> None:
    """Validation tells the operator, at the pattern's field, before the row exists."""
    with pytest.raises(ValidationError) as refusal:
        Spider(pattern=pattern).full_clean()

    assert reason in str(refusal.value.message_dict["pattern"])


def test_a_spider_without_a_name_is_called_after_its_pattern() -> None:
    """The operator may leave the name to us."""
    assert str(saved_through_admin(None, pattern="[mM]ybot\\/", name="", url="")) == "mybot"


def test_a_spider_made_in_the_admin_is_the_operators() -> None:
    """A refresh will leave it alone."""
    assert saved_through_admin(None, pattern="mybot", name="mine", url="").custom


def test_a_spider_changed_in_the_admin_becomes_the_operators() -> None:
    """A name given by hand is not taken back by the next refresh."""
    spider = Spider.objects.create(pattern=" bot ", name="bot", custom=False)

    assert saved_through_admin(spider, pattern=" bot ", name="Bot of theirs", url="").custom


def test_a_spider_switched_in_the_admin_stays_the_packages() -> None:
    """A switch is no change to what the row says; a pattern's own blanks survive the form."""
    spider = Spider.objects.create(pattern=" bot ", name="bot", custom=False)

    switched = saved_through_admin(spider, pattern=" bot ", name="bot", url="", active="")

    assert (switched.pattern, switched.active, switched.custom) == (" bot ", False, False)


def test_the_admin_finds_spiders_by_name_and_pattern() -> None:
    """Search looks where an operator would."""
    found = Spider.objects.create(pattern="abc\\/", name="searched")
    Spider.objects.create(pattern="other")
    spiders = SpiderAdmin(Spider, AdminSite())
    request = RequestFactory().get("/")

    for text in ("searched", "abc"):
        results, _ = spiders.get_search_results(request, Spider.objects.all(), text)
        assert list(results) == [found]


def test_the_check_looks_into_no_database_unless_told(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    """`manage.py check` works without a database."""
    with django_assert_num_queries(0):
        assert check_table_is_filled(databases=None) == []


def test_the_check_warns_of_an_empty_table() -> None:
    """A site that forgot `loaddata spiders` hears of it, with the remedy."""
    (warning,) = check_table_is_filled(databases=["default"])

    assert warning.id == "footfall.spiders.W001"
    assert "loaddata spiders" in (warning.hint or "")


def test_the_check_warns_of_a_missing_table() -> None:
    """Before the first migrate there is a warning, not an error."""
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Spider._meta.db_table} RENAME TO put_away")

    (warning,) = check_table_is_filled(databases=["default"])

    assert warning.id == "footfall.spiders.W001"


def test_the_check_is_content_with_one_spider() -> None:
    """Any list is the operator's choice."""
    Spider.objects.create(pattern="mybot")

    assert check_table_is_filled(databases=["default"]) == []
