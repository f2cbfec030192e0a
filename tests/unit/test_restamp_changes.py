"""`restamp_changes`: rows that came from another database get stamps of this one, and are told to everybody again."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from newsroom.models import Issue, Magazine, Photo, Publisher, SpecialIssue, Supplement

from footfall.storage.management.commands import restamp_changes
from footfall.storage.models import DeletedItem
from footfall.storage.references import current_cursor

pytestmark = pytest.mark.django_db(transaction=True)

#: The models that are kept on the second database: see the fixture `archive`.
ARCHIVED = {"photo"}


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("restamp_changes", "--no-progress", *arguments, stdout=out)
    return out.getvalue()


def make_some() -> Supplement:
    above = Publisher.objects.create(name="a")
    magazine = Magazine.objects.create(title="m", publisher=above)
    Issue.objects.create(magazine=magazine)
    child: Supplement = Supplement.objects.create(theme="t", magazine=magazine)
    return child


def stamps(model: Any) -> set[int]:
    return set(model._base_manager.values_list("change_stamp", flat=True))


def test_all_rows_are_told_again_with_the_times_and_versions_that_they_have() -> None:
    make_some()
    before = list(Issue.objects.values("pk", "updated", "created", "version", "status"))
    cursor = current_cursor()
    assert run() == "stamped: 4\n"
    assert [len(model.handleref.since(cursor=cursor).rows) for model in (Publisher, Magazine, Issue)] == [1, 1, 2]
    assert list(Issue.objects.values("pk", "updated", "created", "version", "status")) == before


def test_deleted_rows_and_what_is_left_of_them_are_told_again() -> None:
    make_some().delete(hard=True)
    Issue.objects.all().delete()
    cursor = current_cursor()
    assert run("newsroom.issue") == "stamped: 2\n"
    told = Issue.handleref.since(cursor=cursor).rows
    assert [row.status for row in told] == ["deleted", "deleted"]
    assert Supplement.handleref.since(cursor=cursor).rows == []


@pytest.mark.parametrize("label", ["newsroom.Supplement", "newsroom.SpecialIssue"])
def test_children_are_stamped_where_their_parent_keeps_account_and_proxies_are_their_model(label: str) -> None:
    child = make_some()
    cursor = current_cursor()
    expected = [child] if label == "newsroom.Supplement" else list(SpecialIssue.objects.order_by("pk"))
    assert run(label) == f"stamped: {len(expected)}\n"
    assert {row.pk for row in Issue.handleref.since(cursor=cursor).rows} == {row.pk for row in expected}


def test_a_model_named_twice_is_stamped_once() -> None:
    make_some()
    assert run("newsroom.Issue", "newsroom.SpecialIssue", "newsroom.Supplement", "newsroom.Issue") == "stamped: 2\n"


def test_a_dry_run_counts_and_writes_nothing() -> None:
    make_some()
    before = stamps(Issue)
    cursor = current_cursor()
    assert run("--dry-run") == "4 rows would be stamped.\n"
    assert stamps(Issue) == before and current_cursor() == cursor


def test_it_is_done_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restamp_changes, "ROWS", 2)
    Photo.objects.bulk_create([Photo() for _ in range(5)])
    with CaptureQueriesContext(connection) as captured:
        assert run("newsroom.Photo") == "stamped: 5\n"
    assert sum("UPDATE" in query["sql"] and "newsroom_photo" in query["sql"] for query in captured) == 3
    assert len(stamps(Photo)) == 3


def test_progress_goes_to_the_error_output() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    make_some()
    shown = Terminal()
    call_command("restamp_changes", "newsroom.Issue", stderr=shown, stdout=io.StringIO())
    assert "2 of 2" in shown.getvalue()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["newsroom.Article"], "keeps no account of changes"),
        (["newsroom.Isue"], "There is no installed model"),
        (["issue"], "not of the form app.Model"),
        (["--database", "nowhere"], "There is no database 'nowhere' among default"),
    ],
)
def test_what_it_can_t_stamp_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        run(*arguments)


def test_the_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command("restamp_changes", "--help")
    assert "restamp_changes news.Story --database copy" in capsys.readouterr().out


@pytest.mark.django_db(transaction=True, databases=["default"])
def test_another_database_has_rows_of_its_own(archive: str) -> None:
    """And its own stamps; what is left of deleted rows is kept in the first."""
    Photo.objects.create()
    Publisher.objects.create(name="here")
    DeletedItem.objects.create(object_type="newsroom.photo", object_id="1")
    assert run("newsroom.Photo", "--database", archive) == "stamped: 1\n"
    assert run("--dry-run", "newsroom.Photo") == "1 rows would be stamped.\n", "what is left"
