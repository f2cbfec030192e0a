"""convert_tracking_data: what it copies, what it skips, and what it refuses."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from newsroom.models import (
    Article,
    ArticleByDevice,
    ArticleDaily,
    ArticleHourly,
    ArticleTotals,
    ArticleWeekly,
    Page,
    Topic,
)
from oldstats.models import OldDetail, OldHits, OldTrackable

from footfall.storage import conversion

pytestmark = pytest.mark.django_db

DAY, NEXT = date(2026, 5, 4), date(2026, 5, 5)  # a Monday and a Tuesday
DAILY = ("oldstats.OldHits", "newsroom.ArticleDaily", "--link-field=page", "--key-fields=day:collected_during")
HITS = "--update-fields=hits:views"
TOTALS = ("oldstats.OldTrackable", "newsroom.ArticleTotals", "--update-fields=views")


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="Read by many")


def convert(*arguments: str) -> str:
    out = io.StringIO()
    call_command("convert_tracking_data", *arguments, "--no-progress", stdout=out, stderr=io.StringIO())
    return out.getvalue()


def refused(*arguments: str) -> str:
    """What is said of arguments, or rows, that are not to be converted."""
    with pytest.raises(CommandError) as caught:
        convert(*arguments)
    return str(caught.value)


def old_hits(page: Article | None, hits: Any, day: date | None = DAY, **fields: Any) -> OldHits:
    return OldHits.objects.create(page=page, hits=hits, day=day, **fields)


def daily() -> list[tuple[str, date, int, int]]:
    rows = ArticleDaily.objects.order_by("object_id", "collected_during")
    return list(rows.values_list("object_id", "collected_during", "views", "clicks"))


def generic(obj: Any, **fields: int) -> OldTrackable:
    return OldTrackable.objects.create(
        content_type=ContentType.objects.get_for_model(obj), object_id=str(obj.pk), **fields
    )


def totals() -> dict[str, int]:
    return {f"{row.object_type}:{row.object_id}": row.views for row in ArticleTotals.objects.all()}


# -- The seed's cases


def test_tb_26_rows_become_rows_of_the_series_with_another_name_for_the_key(article: Article) -> None:
    """day:collected_during is a mapping, not one name for both sides."""
    old_hits(article, 7)
    old_hits(article, 9, NEXT)

    assert convert(*DAILY, HITS) == "Migrated 2 objects\n"
    key = str(article.pk)
    assert daily() == [(key, DAY, 7, 0), (key, NEXT, 9, 0)]


def test_tb_26_at_most_so_many_records_in_an_order(article: Article) -> None:
    """The greatest one."""
    old_hits(article, 7)
    old_hits(article, 9, NEXT)

    assert convert(*DAILY, HITS, "--max-records=1", "--order-by=-hits") == "Migrated 1 objects\n"
    assert [views for _, _, views, _ in daily()] == [9]


def test_tb_26_the_object_is_found_by_a_value(article: Article) -> None:
    """page.title is the title of an article; here of two, over a relation and without one."""
    other = Article.objects.create(title="Other")
    old_hits(article, 7)
    old_hits(other, 9)
    way = ("oldstats.OldHits", "newsroom.ArticleDaily", "--key-fields=day:collected_during", HITS)

    assert convert(*way, "--match-spec=page.title:newsroom.Article:title") == "Migrated 2 objects\n"
    assert [views for _, _, views, _ in daily()] == [7, 9]
    OldHits.objects.update(slug=str(article.pk))
    assert convert(*way, "--match-spec=slug:newsroom.Article", "--order-by=hits") == "Migrated 2 objects\n"
    assert [views for _, _, views, _ in daily()] == [9, 9]


@pytest.mark.parametrize("arguments", [("oldstats.OldHits",), (), ("oldstats.OldHits", "newsroom.ArticleDaily")])
def test_tb_26_too_few_arguments_are_refused(arguments: tuple[str, ...]) -> None:
    assert "required" in refused(*arguments)


# -- Copying


def test_numbers_are_copied_not_added_and_a_second_run_changes_nothing(article: Article) -> None:
    """What stood there is overwritten; fields that are not named are left alone."""
    ArticleDaily.objects.create(
        object_type="newsroom.article", object_id=str(article.pk), collected_during=DAY, views=100, clicks=5
    )
    old_hits(article, 7)

    convert(*DAILY, HITS)
    assert daily() == [(str(article.pk), DAY, 7, 5)]
    convert(*DAILY, HITS)
    assert daily() == [(str(article.pk), DAY, 7, 5)]


def test_several_fields_at_once_and_one_name_for_both_sides(article: Article) -> None:
    """Signed where the dataset is signed."""
    generic(article, views=3, score=-4)

    convert("oldstats.OldTrackable", "newsroom.ArticleTotals", "--update-fields=views,score")

    row = ArticleTotals.objects.get()
    assert (row.views, row.score) == (3, -4)


def test_rows_without_an_object_are_skipped_and_counted(article: Article) -> None:
    """No object, or one that is gone."""
    gone = Article.objects.create(title="Gone")
    old_hits(gone, 1)
    Article.objects.filter(pk=gone.pk)._raw_delete("default")
    old_hits(None, 2)
    old_hits(article, 3)

    assert convert(*DAILY, HITS) == "Migrated 1 objects\nSkipped 2 rows whose object is not there\n"
    assert [views for _, _, views, _ in daily()] == [3]


def test_the_last_of_rows_with_one_key_stands(article: Article) -> None:
    """In the order that was asked for, in one batch and over several."""
    old_hits(article, 7)
    old_hits(article, 9)

    convert(*DAILY, HITS, "--order-by=hits")
    assert [views for _, _, views, _ in daily()] == [9]
    convert(*DAILY, HITS, "--order-by=-hits")
    assert [views for _, _, views, _ in daily()] == [7]


def test_a_dry_run_keeps_nothing(article: Article) -> None:
    old_hits(article, 7)

    said = convert(*DAILY, HITS, "--dry-run")

    assert said == "Migrated 1 objects\nDry run: all of it was rolled back.\n"
    assert daily() == []


# -- The way to the object


def test_a_generic_parent_of_any_model() -> None:
    """Integer, UUID and text keys; a removed model, a bad key and a gone object are nobody."""
    article, page, topic = (
        Article.objects.create(title="a"),
        Page.objects.create(title="p"),
        Topic.objects.create(pk="t"),
    )
    for number, obj in enumerate((article, page, topic), 1):
        generic(obj, views=number)
    stale = ContentType.objects.create(app_label="newsroom", model="removed")
    OldTrackable.objects.create(content_type=stale, object_id="1", views=7)
    for key in ("no number", "999999", str(2**70)):
        OldTrackable.objects.create(content_type=ContentType.objects.get_for_model(article), object_id=key, views=7)

    assert convert(*TOTALS) == "Migrated 3 objects\nSkipped 4 rows whose object is not there\n"
    assert totals() == {
        f"newsroom.article:{article.pk}": 1,
        f"newsroom.page:{page.pk}": 2,
        "newsroom.topic:t": 3,
    }


@pytest.mark.parametrize("path", ["of.page", "generic.parent"])
def test_an_object_two_steps_away(article: Article, path: str) -> None:
    OldDetail.objects.create(of=old_hits(article, 1), generic=generic(article), views=5)
    OldDetail.objects.create(of=old_hits(None, 1), generic=None, views=6)

    said = convert("oldstats.OldDetail", "newsroom.ArticleTotals", f"--link-field={path}", "--update-fields=views")

    assert said == "Migrated 1 objects\nSkipped 1 rows whose object is not there\n"
    assert totals() == {f"newsroom.article:{article.pk}": 5}


def test_from_one_dataset_to_another(article: Article) -> None:
    """Its parent is in two columns."""
    for day, views in ((DAY, 1), (NEXT, 2)):
        ArticleDaily.objects.create(
            object_type="newsroom.article", object_id=str(article.pk), collected_during=day, views=views
        )

    convert("newsroom.ArticleDaily", "newsroom.ArticleHourly", "--key-fields=collected_during", "--update-fields=views")

    local = [row.collected_during for row in ArticleHourly.objects.order_by("views")]
    assert local == [datetime(2026, 5, 3, 22, tzinfo=UTC), datetime(2026, 5, 4, 22, tzinfo=UTC)]


def test_a_model_that_the_dataset_does_not_count_is_refused() -> None:
    page = Page.objects.create(title="p")
    row = generic(page, views=1)
    told = refused(
        "oldstats.OldTrackable", "newsroom.ArticleDaily", "--update-fields=views", "--key-fields=views:collected_during"
    )

    assert f"oldstats.OldTrackable {row.pk} belongs to a newsroom.Page, which newsroom.ArticleDaily does not" in told


def test_two_objects_with_the_value_are_refused(article: Article) -> None:
    """Neither is guessed."""
    Article.objects.create(title=article.title)
    old_hits(article, 7, slug=article.title)
    way = ("oldstats.OldHits", "newsroom.ArticleDaily", "--key-fields=day:collected_during", HITS)

    assert "several newsroom.Article have the title" in refused(*way, "--match-spec=slug:newsroom.Article:title")


# -- Slots


def test_a_week_is_known_by_its_monday(article: Article) -> None:
    """Any other day is refused: the rows of a week would overwrite each other."""
    way = ("oldstats.OldHits", "newsroom.ArticleWeekly", "--link-field=page", "--key-fields=day:collected_during", HITS)
    old_hits(article, 7, DAY)
    convert(*way)
    row = old_hits(article, 9, NEXT)

    told = refused(*way)

    assert f"OldHits {row.pk}: collected_during is 2026-05-05, where ArticleWeekly has 2026-05-04" in told
    assert [week.views for week in ArticleWeekly.objects.all()] == [7]


def test_a_time_becomes_the_day_on_the_clock_of_the_site(article: Article) -> None:
    """Half past ten in the evening UTC is the next day in Berlin."""
    old_hits(article, 7, at=datetime(2026, 5, 4, 22, 30, tzinfo=UTC))

    convert("oldstats.OldHits", "newsroom.ArticleDaily", "--link-field=page", "--key-fields=at:collected_during", HITS)

    assert [day for _, day, _, _ in daily()] == [NEXT]


def test_an_hour_is_known_by_its_start(article: Article) -> None:
    way = ("oldstats.OldHits", "newsroom.ArticleHourly", "--link-field=page", "--key-fields=at:collected_during", HITS)
    old_hits(article, 7, at=datetime(2026, 5, 4, 22, tzinfo=UTC))
    convert(*way)
    assert ArticleHourly.objects.get().collected_during == datetime(2026, 5, 4, 22, tzinfo=UTC)

    old_hits(article, 7, at=datetime(2026, 5, 4, 22, 5, tzinfo=UTC))
    assert "where ArticleHourly has" in refused(*way)


def test_a_rule_of_ones_own_gets_its_options(article: Article) -> None:
    """And the length of its column is kept."""
    way = ("oldstats.OldHits", "newsroom.ArticleByDevice", "--link-field=page", HITS)
    keys = "--key-fields=day:collected_during,device"
    old_hits(article, 7, device="phone")
    convert(*way, keys)
    row = ArticleByDevice.objects.get()
    assert (row.collected_during, row.device, row.views) == (DAY, "phone", 7)

    assert "needs device" in refused(*way, "--key-fields=day:collected_during")
    OldHits.objects.update(device="x" * 21)
    assert "no device: " in refused(*way, keys)


@pytest.mark.parametrize("day", [None, date(1999, 12, 31), datetime.now(UTC).date() + timedelta(days=3)])
def test_a_day_that_no_event_can_have_is_refused(article: Article, day: date | None) -> None:
    """None, before 2000, and in the future."""
    row = old_hits(article, 7, day)

    assert f"oldstats.OldHits {row.pk}" in refused(*DAILY, HITS)


# -- Numbers


@pytest.mark.parametrize("hits", [None, -1, 2**31, 2**40])
def test_a_number_that_the_counter_can_not_hold_ends_it_all(article: Article, hits: int | None) -> None:
    """The row is named, and what was written before it is rolled back."""
    old_hits(article, 7)
    row = old_hits(article, hits, NEXT)

    told = refused(*DAILY, HITS)

    assert f"oldstats.OldHits {row.pk}: hits is {hits!r}, not to be copied into views" in told
    assert "Nothing was kept." in told
    assert daily() == []


def test_a_whole_number_of_another_sort_is_taken_and_a_fraction_refused(article: Article) -> None:
    old_hits(article, 7, weight=12.0)
    convert(*DAILY, "--update-fields=weight:views")
    assert [views for _, _, views, _ in daily()] == [12]

    OldHits.objects.update(weight=12.5)
    assert "weight is 12.5" in refused(*DAILY, "--update-fields=weight:views")


def test_text_is_a_number_where_it_is_one(article: Article) -> None:
    old_hits(article, 7, slug="12")
    convert(*DAILY, "--update-fields=slug:views")
    assert [views for _, _, views, _ in daily()] == [12]

    OldHits.objects.update(slug="many")
    assert "slug is 'many'" in refused(*DAILY, "--update-fields=slug:views")


def test_what_only_the_database_refuses_names_the_rows_around(article: Article) -> None:
    """A rule of the site's own."""
    row = old_hits(article, 666)

    told = refused(*DAILY, "--update-fields=hits:clicks")

    assert f"refuses a row between oldstats.OldHits {row.pk} and" in told and daily() == []


# -- Arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("OldHits", "newsroom.ArticleDaily"), "not of the form app.Model"),
        (
            ("oldstats.OldHit", "newsroom.ArticleDaily"),
            "There is no installed model 'oldstats.OldHit'. Did you mean oldstats.OldHits?",
        ),
        (("oldstats.OldHits", "newsroom.Article"), "newsroom.Article is not a registered dataset"),
        (("newsroom.ArticleDaily", "newsroom.ArticleDaily"), "Source and destination are the same"),
        (DAILY[:3], "newsroom.ArticleDaily needs collected_during"),
        ((*DAILY[:3], "--key-fields=dya:collected_during"), "oldstats.OldHits has no field 'dya'. Did you mean day?"),
        ((*DAILY[:3], "--key-fields=day:collected"), "'collected' is not one of collected_during. Did you mean"),
        ((*DAILY, "--update-fields=hits:viewz"), "'viewz' is not one of views, clicks. Did you mean views?"),
        ((*DAILY, "--update-fields=hitz:views"), "has no field 'hitz'. Did you mean hits?"),
        ((*DAILY, "--update-fields=hits:views,id:views"), "'views' is named twice"),
        ((*DAILY, "--update-fields=,"), "names nothing"),
        ((*DAILY, "--update-fields=page.nothing:views"), "newsroom.Article has no field 'nothing'"),
        ((*DAILY, "--max-records=0"), "at least 1"),
        ((*DAILY, "--order-by=nothing"), "--order-by nothing: Cannot resolve"),
        ((*DAILY, "--update-fields=:views"), "'' is not of the form ATTR[.ATTR…]"),
        ((*DAILY[:2], DAILY[3], "--link-field=page."), "'page.' is not of the form ATTR[.ATTR…]"),
        ((*DAILY[:2], DAILY[3], "--link-field=slug"), "leads to a field of oldstats.OldHits, not to an object"),
        ((*DAILY[:2], DAILY[3]), "oldstats.OldHits has no field 'parent'"),
        ((*DAILY, "--match-spec=slug:newsroom.Article"), "not both"),
        ((*DAILY[:2], DAILY[3], "--match-spec=slug"), "not of the form"),
        ((*DAILY[:2], DAILY[3], "--match-spec=slug:newsroom.Article:slug"), "newsroom.Article has no field 'slug'"),
        ((*DAILY[:2], DAILY[3], "--match-spec=nothing:newsroom.Article"), "has no field 'nothing'"),
    ],
)
def test_arguments_that_can_not_be_right_are_refused(arguments: tuple[str, ...], told: str) -> None:
    """Before anything is read, with the name that was meant."""
    given = arguments if any("update" in one for one in arguments) else (*arguments, HITS)

    assert told in refused(*given)


# -- Size


@pytest.mark.parametrize("way", ["page", "parent", "match"])
def test_queries_grow_with_the_batches_not_with_the_rows(
    article: Article, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Over a foreign key, a generic one, and by a value: the same few for three rows and for thirty."""
    monkeypatch.setattr(conversion, "CHUNK", 1000)
    numbers = []
    for count in (3, 30):
        for _ in range(count):
            one = Article.objects.create(title=f"article {Article.objects.count()}")
            old_hits(one, 1, slug=one.title)
            generic(one, views=1)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            if way == "page":
                convert(*DAILY, HITS)
            elif way == "parent":
                convert(*TOTALS)
            else:
                convert(*DAILY[:2], DAILY[3], HITS, "--match-spec=slug:newsroom.Article:title")
        # SQLite's executemany is recorded as one.
        numbers.append(len(queries))

    assert numbers[0] >= numbers[1] and numbers[1] <= 8


def test_many_rows_go_through_in_batches_and_in_one_transaction(
    article: Article, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error in the last row undoes the first."""
    monkeypatch.setattr(conversion, "CHUNK", 10)
    for number in range(95):
        old_hits(article, number, DAY - timedelta(days=number))
    assert convert(*DAILY, HITS) == "Migrated 95 objects\n"
    assert sum(views for _, _, views, _ in daily()) == sum(range(95))

    OldHits.objects.update(hits=1000)
    OldHits.objects.filter(pk=OldHits.objects.order_by("-pk")[0].pk).update(hits=-1)
    refused(*DAILY, HITS)
    assert sum(views for _, _, views, _ in daily()) == sum(range(95))


def test_progress_goes_to_stderr(article: Article) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    old_hits(article, 7)
    out, err = io.StringIO(), Terminal()

    call_command("convert_tracking_data", *DAILY, HITS, stdout=out, stderr=err, no_color=True)

    assert "1 of 1" in err.getvalue() and out.getvalue() == "Migrated 1 objects\n"
