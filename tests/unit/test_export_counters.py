"""export_counters: a row for each object, with sums and averages that are right and cells that are safe."""

from __future__ import annotations

import csv
import io
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, ArticleDaily, ArticleHourly, ArticleTotals, Column, Page

from footfall.storage import export

pytestmark = pytest.mark.django_db

DAY = date(2026, 5, 4)
DAILY = ("newsroom.Article", "newsroom.ArticleDaily")


class Told:
    """What the command wrote."""

    def __init__(self, *arguments: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        call_command("export_counters", *arguments, "--no-progress", stdout=out, stderr=err)
        self.out, self.err = out.getvalue(), err.getvalue()

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(self.out, newline="")))


def refused(*arguments: str) -> str:
    with pytest.raises(CommandError) as caught:
        Told(*arguments)
    return str(caught.value)


def count(dataset: Any, obj: Any, **fields: Any) -> None:
    dataset.objects.create(object_type=obj._meta.label_lower, object_id=str(obj.pk), **fields)


@pytest.fixture
def articles() -> list[Article]:
    """One counted on two days, one on one, one never."""
    first, second, third = (Article.objects.create(title=title) for title in ("first", "second", "third"))
    count(ArticleDaily, first, collected_during=DAY, views=3, clicks=1)
    count(ArticleDaily, first, collected_during=DAY + timedelta(days=1), views=4)
    count(ArticleDaily, second, collected_during=DAY, views=10)
    count(ArticleTotals, first, views=7, score=-2)
    return [first, second, third]


# -- What is written


def test_tb_27_sum_and_average_per_field_and_data_class_per_object(articles: list[Article]) -> None:
    """Two data classes; an object without counts has 0."""
    rows = Told(*DAILY, "newsroom.ArticleTotals").rows()

    assert list(rows[0]) == [
        "id",
        "name",
        "articledaily__views__sum",
        "articledaily__views__avg",
        "articledaily__clicks__sum",
        "articledaily__clicks__avg",
        "articletotals__views__sum",
        "articletotals__views__avg",
        "articletotals__score__sum",
        "articletotals__score__avg",
        "articletotals__peak__sum",
        "articletotals__peak__avg",
    ]
    assert [list(row.values()) for row in rows] == [
        [str(articles[0].pk), "first", "7", "3.5", "1", "0.5", "7", "7.0", "-2", "-2.0", "0", "0.0"],
        [str(articles[1].pk), "second", "10", "10.0", "0", "0.0", "0", "0.0", "0", "0.0", "0", "0.0"],
        [str(articles[2].pk), "third", "0", "0.0", "0", "0.0", "0", "0.0", "0", "0.0", "0", "0.0"],
    ]


def test_all_datasets_of_the_model_and_all_their_fields_by_default(articles: list[Article]) -> None:
    columns = list(Told("newsroom.Article").rows()[0])

    assert {"articletotals__peak__sum", "articledaily__clicks__avg", "articlehourly__score__sum"} <= set(columns)
    assert len(columns) == len(set(columns))


def test_only_the_fields_that_are_named(articles: list[Article]) -> None:
    """A dataset that has none of them is left out."""
    told = Told("newsroom.Article", "newsroom.ArticleDaily", "newsroom.ArticleTotals", "--fields=clicks").rows()

    assert list(told[0]) == ["id", "name", "articledaily__clicks__sum", "articledaily__clicks__avg"]


@pytest.mark.parametrize(
    ("arguments", "sums"),
    [
        (("--since=2026-05-05",), ["4", "0", "0"]),
        (("--until=2026-05-04",), ["3", "10", "0"]),
        (("--since=2026-05-04", "--until=2026-05-05"), ["7", "10", "0"]),
        (("--since=2026-05-06",), ["0", "0", "0"]),
    ],
)
def test_days_bound_the_slots_both_included(
    articles: list[Article], arguments: tuple[str, ...], sums: list[str]
) -> None:
    rows = Told(*DAILY, *arguments).rows()

    assert [row["articledaily__views__sum"] for row in rows] == sums


def test_the_hours_of_a_day_are_those_of_the_site(articles: list[Article]) -> None:
    """The day begins at 22:00 UTC the day before."""
    for hour in (21, 22):
        count(ArticleHourly, articles[0], collected_during=datetime(2026, 5, 3, hour, tzinfo=UTC), views=hour)
        count(ArticleHourly, articles[0], collected_during=datetime(2026, 5, 4, hour, tzinfo=UTC), views=100 * hour)

    told = Told("newsroom.Article", "newsroom.ArticleHourly", "--since=2026-05-04", "--until=2026-05-04").rows()

    assert told[0]["articlehourly__views__sum"] == str(22 + 2100)


def test_days_at_the_edge_of_the_calendar_leave_nothing_out(articles: list[Article]) -> None:
    """Also where a zone puts their hours beyond it."""
    count(ArticleHourly, articles[0], collected_during=datetime(2026, 5, 4, 12, tzinfo=UTC), views=3)

    told = Told("newsroom.Article", "newsroom.ArticleHourly", "--since=0001-01-01", "--until=9999-12-31")

    assert told.rows()[0]["articlehourly__views__sum"] == "3"


def test_rows_of_gone_objects_are_counted_and_left_out(articles: list[Article]) -> None:
    """How many objects that were, per dataset."""
    for day in (0, 1):
        count(ArticleDaily, Article(pk=999_999), collected_during=DAY + timedelta(days=day), views=5)
    count(ArticleTotals, Page(), views=5)  # of another model

    told = Told(*DAILY)

    assert len(told.rows()) == 3
    assert told.err == "newsroom.ArticleDaily: 1 objects that are gone were left out.\n"


def test_uuid_keys_and_other_models_of_the_same_dataset(articles: list[Article]) -> None:
    page = Page.objects.create(title="a page")
    count(ArticleTotals, page, views=6)

    rows = Told("newsroom.Page").rows()

    assert [(row["id"], row["name"], row["articletotals__views__sum"]) for row in rows] == [
        (str(page.pk), "a page", "6")
    ]


def test_a_proxy_has_the_counts_of_its_base(articles: list[Article]) -> None:
    assert Told("newsroom.Column", "newsroom.ArticleDaily").out == Told(*DAILY).out
    assert Column.objects.count() == 3


def test_json_is_an_array_of_objects(articles: list[Article]) -> None:
    """Numbers are numbers, text is as it is."""
    Article.objects.filter(pk=articles[1].pk).update(title='=1+1 "ü" \x7f</script>')

    told = Told(*DAILY, "--format=json", "--fields=views")

    assert json.loads(told.out) == [
        {"id": articles[0].pk, "name": "first", "articledaily__views__sum": 7, "articledaily__views__avg": 3.5},
        {
            "id": articles[1].pk,
            "name": '=1+1 "ü" \x7f</script>',
            "articledaily__views__sum": 10,
            "articledaily__views__avg": 10.0,
        },
        {"id": articles[2].pk, "name": "third", "articledaily__views__sum": 0, "articledaily__views__avg": 0.0},
    ]
    assert told.out.isascii() and "\x7f" not in told.out


@pytest.mark.parametrize(("form", "empty"), [("json", "[]\n"), ("csv", "id,name,")])
def test_a_model_without_objects(form: str, empty: str) -> None:
    assert Told("newsroom.Page", f"--format={form}").out.startswith(empty)


@pytest.mark.parametrize("title", ["=1+1", "+1", "-1", "@x", "\t=1", "＝1", 'a,"b"\n=c', " =HYPERLINK(1)"])
def test_no_name_is_a_formula_in_a_spreadsheet(title: str) -> None:
    """And each comes back whole from the file."""
    Article.objects.create(title=title)

    name = Told(*DAILY).rows()[0]["name"]

    assert name.removeprefix("'") == title
    assert not name.lstrip().startswith(("=", "+", "-", "@", "＝"))


def test_a_terminal_gets_no_control_characters_of_strangers() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    Article.objects.create(title="\x1b]0;owned\x07")
    out = Terminal()

    call_command("export_counters", *DAILY, "--no-progress", stdout=out, stderr=io.StringIO())

    assert "\x1b" not in out.getvalue() and "\\x1b]0;owned\\x07" in out.getvalue()


# -- Where it is written


def test_a_file_appears_when_it_is_complete(articles: list[Article], tmp_path: Path) -> None:
    """With its owner's permissions, or those that it had; and nothing on stdout."""
    path = tmp_path / "counters.csv"
    told = Told(*DAILY, f"--output={path}")

    assert told.out == "" and path.read_bytes().decode() == Told(*DAILY).out
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    Told(*DAILY, f"--output={path}")
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["counters.csv"]


def test_after_an_error_the_old_file_is_as_it_was(
    articles: list[Article], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No half of a new one, and nothing left beside it."""
    path = tmp_path / "counters.csv"
    path.write_text("old")

    def fails(self: Any) -> str:
        raise OperationalError("the server went away")

    monkeypatch.setattr(Article, "__str__", fails)

    assert "the server went away" in refused(*DAILY, f"--output={path}")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["counters.csv"]


def test_what_is_no_regular_file_is_written_to_and_stays(articles: list[Article], tmp_path: Path) -> None:
    """A pipe stays one, and so would /dev/null for root."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # or to open it for writing would wait

    Told(*DAILY, f"--output={pipe}")

    written = os.read(reader, 10)
    os.close(reader)
    assert (written, pipe.is_fifo()) == (b"id,name,ar", True)


def test_a_link_stays_one_and_its_file_is_replaced(articles: list[Article], tmp_path: Path) -> None:
    """Of one that leads nowhere yet, the file is made."""
    link = tmp_path / "latest.csv"
    link.symlink_to("counters.csv")
    for _ in range(2):
        Told(*DAILY, f"--output={link}")

        assert link.is_symlink() and (tmp_path / "counters.csv").read_text().startswith("id,name")


def test_a_directory_that_is_not_there_is_said_so(articles: list[Article], tmp_path: Path) -> None:
    assert "No such file or directory" in refused(*DAILY, f"--output={tmp_path}/nowhere/counters.csv")


def test_a_dry_run_says_how_much_it_would_be(articles: list[Article], tmp_path: Path) -> None:
    told = Told(*DAILY, "--dry-run", f"--output={tmp_path}/counters.csv")

    assert told.out == "3 rows with 6 columns would be written.\n"
    assert os.listdir(tmp_path) == []


# -- Arguments


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("Article",), "not of the form app.Model"),
        (("newsroom.Artikle",), "There is no installed model 'newsroom.Artikle'. Did you mean newsroom.Article?"),
        (("auth.User",), "No dataset counts auth.User."),
        (("newsroom.Article", "newsroom.ArticleDayly"), "Did you mean newsroom.ArticleDaily?"),
        (("newsroom.Page", "newsroom.ArticleDaily"), "newsroom.ArticleDaily does not count newsroom.Page"),
        ((*DAILY, "--fields=viewz"), "no dataset has viewz. Did you mean views?"),
        ((*DAILY, "--fields=,"), "--fields names none"),
        ((*DAILY, "--since=yesterday"), "invalid ISO date value: 'yesterday'"),
        ((*DAILY, "--since=2026-05-05", "--until=2026-05-04"), "is after"),
        (("newsroom.Page", "--since=2026-05-05"), "newsroom.ArticleTotals has no slots of time"),
    ],
)
def test_arguments_that_can_not_be_right_are_refused(arguments: tuple[str, ...], told: str) -> None:
    assert told in refused(*arguments)


# -- Size


def test_queries_grow_with_the_batches_not_with_the_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for the objects and one per dataset for each batch; every object once, in order."""
    monkeypatch.setattr(export, "CHUNK", 10)
    for number in range(25):
        count(ArticleDaily, Article.objects.create(title=str(number)), collected_during=DAY, views=number)

    with CaptureQueriesContext(connection) as queries:
        rows = Told(*DAILY, "newsroom.ArticleTotals").rows()

    assert [(row["name"], row["articledaily__views__sum"]) for row in rows] == [(str(n), str(n)) for n in range(25)]
    # Count; objects four times, the last time none; two datasets three times; two counts of what is gone.
    assert len(queries) == 1 + 4 + 2 * 3 + 2
