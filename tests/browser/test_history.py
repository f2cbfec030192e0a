"""An article's history in the admin, looked at and taken back; and deletion, with what comes after it."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser.newsstand import EDITOR, Newsstand
from browser.person import Person
from processes import eventually
from selenium.webdriver.common.by import By

ARTICLES = "/admin/articles/article/"
SCRIPT = "<script>document.title = 'taken over'</script>"
IMAGE = "<img src=x onerror=\"document.title = 'taken over'\">"

#: In a site's shell: an article with a comment, and three revisions of it by the editor.
MAKE = """
import uuid
from datetime import UTC, datetime
import reversion
from django.contrib.auth.models import User
from articles.models import Article, Comment
editor = User.objects.get(username="editor")
article = Article(slug="the-tram", section="city", published=datetime(2020, 1, 1, tzinfo=UTC), author=editor)
for title, summary, comment in {revisions!r}:
    article.title, article.summary, article.body = title, summary, "It runs all night. " + {hostile!r}
    with reversion.create_revision():
        reversion.set_user(editor)
        reversion.set_comment(comment)
        article.save()
Comment.objects.create(article=article, author=editor, text="Well done.", ticket=uuid.uuid4())
print(article.pk)
"""
FORGET = """
from articles.models import Article
from reversion.models import Revision
Article.objects.filter(pk={key}).delete(hard=True)
Revision.objects.filter(version__object_id="{key}", version__content_type__model="article").delete()
"""
STAFF = """
from django.contrib.auth.models import Permission, User
may = Permission.objects.filter(content_type__app_label="articles", content_type__model="article")
assistant, _ = User.objects.get_or_create(username="assistant", defaults={"is_staff": True})
assistant.password = User.objects.get(username="editor").password
assistant.save()
assistant.user_permissions.set(may)
"""
REVISIONS = [
    ("The tram", "It begins.", "first print"),
    ("The tram, again", "It goes on.", "a second look"),
    ("The tram, at last", "It ends.", "the last word"),
]


class Kept:
    """An article of this file's own, so that what others count stays as it is."""

    def __init__(self, newsstand: Newsstand, key: int) -> None:
        self.key = key
        self.admin = f"{ARTICLES}{key}/"
        self.page = f"/articles/{key}/"
        self._newsstand = newsstand

    @property
    def versions(self) -> list[int]:
        """The keys of its versions, the earliest first."""
        query = (
            "SELECT v.id FROM reversion_version v JOIN django_content_type t ON t.id = v.content_type_id"
            " WHERE t.model = 'article' AND v.object_id = ? ORDER BY v.id"
        )
        return [key for (key,) in self._newsstand.rows(query, str(self.key))]

    @property
    def row(self) -> tuple[str, str, str, int]:
        """Its title, summary, status and version as they stand in the table."""
        query = "SELECT title, summary, status, version FROM articles_article WHERE id = ?"
        ((title, summary, status, version),) = self._newsstand.rows(query, self.key)
        return title, summary, status, version


def _made(newsstand: Newsstand, revisions: list[tuple[str, str, str]], hostile: str = "") -> Kept:
    made = newsstand.manage("shell", "--verbosity=0", "-c", MAKE.format(revisions=revisions, hostile=hostile))
    return Kept(newsstand, int(made.split()[-1]))


def _forget(newsstand: Newsstand, kept: Kept) -> None:
    newsstand.manage("shell", "--verbosity=0", "-c", FORGET.format(key=kept.key))


@pytest.fixture
def kept(newsstand: Newsstand) -> Iterator[Kept]:
    """An article in its third version."""
    kept = _made(newsstand, REVISIONS)
    yield kept
    _forget(newsstand, kept)


@pytest.fixture
def editor(person: Person) -> Person:
    """Somebody who may do everything."""
    person.sign_in(EDITOR)
    return person


def _text(person: Person) -> str:
    return str(person.run("return document.body.innerText"))


def _path(person: Person) -> str:
    return urlsplit(person.browser.current_url).path


def _status(person: Person, path: str) -> int:
    """How the site answers somebody who is not signed in."""
    return int(person.run("return fetch(arguments[0], {credentials: 'omit'}).then(answer => answer.status)", path))


def _titles(person: Person) -> list[str]:
    return [cell.text for cell in person.browser.find_elements(By.CSS_SELECTOR, "#result_list .field-title")]


def _rows(person: Person) -> list[str]:
    """What the history says of each version, the newest first."""
    return [row.text for row in person.browser.find_elements(By.CSS_SELECTOR, "#change-history tbody tr")]


def _choose(person: Person, field: str, value: str) -> None:
    person.find(f"//input[@name='field_{field}']/parent::label[contains(normalize-space(), '{value}')]").click()


# -- History


def test_chosen_fields_are_given_back_what_they_were(editor: Person, kept: Kept) -> None:
    """From the list over a version's details and the preview to the list, which then shows the reversion."""
    first, second, third = kept.versions
    editor.open(kept.admin)
    editor.go("History")
    assert ["first print" in row for row in _rows(editor)] == [False, False, True]
    assert "The tram, again" in _rows(editor)[0]

    editor.go(str(third))
    assert (_path(editor), "the last word" in _text(editor)) == (f"{kept.admin}history/{third}/", True)
    assert "It runs all night." in editor.find("//*[.='Snapshot']/following::table").text
    editor.go("History")

    for key in (second, third):
        editor.find(f"//input[@name='version_id' and @value='{key}']").click()
    editor.press("Go")
    assert "Preview Reversion" in _text(editor)
    assert "It goes on." in _text(editor)
    _choose(editor, "title", "The tram, again")
    _choose(editor, "summary", "do not revert")
    editor.press("Revert")

    assert _path(editor) == f"{kept.admin}history/"
    assert kept.row == ("The tram, again", "It ends.", "", 4)
    assert len(kept.versions) == 4
    newest = _rows(editor)[0]
    assert "reverted some fields" in newest
    assert EDITOR in newest
    assert first in kept.versions
    assert editor.complaints() == []


def test_a_rollback_gives_everything_back_after_it_was_confirmed(editor: Person, kept: Kept) -> None:
    first, *_later = kept.versions
    editor.open(f"{kept.admin}history/{first}/rollback/")
    assert "Confirm Rollback" in _text(editor)
    assert kept.row == ("The tram, at last", "It ends.", "", 3)
    editor.press("Roll back")

    assert _path(editor) == f"{kept.admin}history/"
    assert kept.row == ("The tram", "It begins.", "", 4)
    assert "rollback to version 1" in _rows(editor)[0]
    editor.open(kept.page)
    assert editor.find("//h1").text == "The tram"
    assert editor.complaints() == []


def test_the_first_version_changed_nothing_that_could_be_given_back(editor: Person, kept: Kept) -> None:
    editor.open(f"{kept.admin}history/revert/?version_id={kept.versions[0]}")
    assert "nothing to revert" in _text(editor)
    assert editor.complaints() == []


# -- Deletion


def test_what_is_deleted_is_gone_from_the_site_and_comes_back_restored(editor: Person, kept: Kept) -> None:
    """With its comments; nothing of it is lost meanwhile."""
    editor.open(kept.admin)
    editor.go("Delete")
    assert "Well done." in _text(editor)
    editor.press("Yes, I’m sure")

    assert kept.row == ("The tram, at last", "It ends.", "deleted", 4)
    assert "The tram, at last" not in _titles(editor)
    assert _status(editor, kept.page) == 404
    editor.open(f"{ARTICLES}?deleted=yes")
    assert _titles(editor) == ["The tram, at last"]

    editor.go("The tram, at last")
    editor.press("Restore")

    assert kept.row == ("The tram, at last", "It ends.", "", 5)
    assert _status(editor, kept.page) == 200
    editor.open(kept.page)
    assert "Well done." in _text(editor)


def test_several_are_deleted_and_restored_from_the_list(editor: Person, kept: Kept) -> None:
    editor.open(f"{ARTICLES}?q=tram")
    _act(editor, kept, "delete_selected")
    editor.press("Yes, I’m sure")
    assert kept.row[2] == "deleted"
    editor.open(f"{ARTICLES}?q=tram&deleted=yes")
    _act(editor, kept, "restore_selected")
    assert kept.row[2:] == ("", 5)
    assert editor.complaints() == []


def _act(person: Person, kept: Kept, action: str) -> None:
    person.find(f"//input[@name='_selected_action' and @value='{kept.key}']").click()
    person.find(f"//select[@name='action']/option[@value='{action}']").click()
    person.press("Go")


def test_what_is_deleted_for_ever_does_not_come_back(newsstand: Newsstand, editor: Person, kept: Kept) -> None:
    editor.open(kept.admin)
    editor.go("Delete for ever")
    assert "Nothing of this can be restored" in _text(editor)
    assert newsstand.rows("SELECT 1 FROM articles_article WHERE id = ?", kept.key)
    editor.press("Yes, delete for ever")

    assert _path(editor) == ARTICLES
    for table, column in (("articles_article", "id"), ("articles_comment", "article_id")):
        assert newsstand.rows(f"SELECT 1 FROM {table} WHERE {column} = ?", kept.key) == []
    assert _status(editor, kept.page) == 404


def test_the_activity_tells_of_what_is_deleted_by_its_description(
    newsstand: Newsstand, editor: Person, kept: Kept
) -> None:
    """Without a link that would lead nowhere; restored, it is itself again."""
    editor.open(kept.page)
    editor.press("I like it")
    eventually(newsstand.is_settled)
    editor.open("/activity/")
    assert editor.browser.find_elements(By.LINK_TEXT, "The tram, at last")

    editor.open(f"{kept.admin}delete/")
    editor.press("Yes, I’m sure")
    editor.open("/activity/")
    assert "The tram, at last (withdrawn)" in _text(editor)
    assert editor.browser.find_elements(By.LINK_TEXT, "The tram, at last (withdrawn)") == []

    editor.open(kept.admin)
    editor.press("Restore")
    editor.open("/activity/")
    assert editor.browser.find_elements(By.LINK_TEXT, "The tram, at last")


def test_a_comment_is_not_restored_below_a_deleted_article(newsstand: Newsstand, editor: Person, kept: Kept) -> None:
    """The page says so, and nothing is changed."""
    ((comment,),) = newsstand.rows("SELECT id FROM articles_comment WHERE article_id = ?", kept.key)
    editor.open(f"{kept.admin}delete/")
    editor.press("Yes, I’m sure")
    editor.open(f"/admin/articles/comment/{comment}/change/")
    editor.press("Restore")
    assert "can't be restored" in editor.find("//ul[@class='messagelist']/li[@class='error']").text
    assert newsstand.rows("SELECT status FROM articles_comment WHERE id = ?", comment) == [("deleted",)]
    assert editor.complaints() == []


def test_another_system_hears_of_a_deletion_and_of_no_more(editor: Person, kept: Kept) -> None:
    """Once, by the cursor that it was given; a cursor that is none is refused."""
    cursor = _changes(editor, "")["cursor"]
    assert _changes(editor, cursor)["changes"] == []
    editor.open(f"{kept.admin}delete/")
    editor.press("Yes, I’m sure")

    told = _changes(editor, cursor)
    (tombstone,) = told["changes"]
    assert tombstone.pop("updated")
    assert tombstone == {"handle": f"article{kept.key}", "id": kept.key, "status": "deleted"}
    assert _changes(editor, told["cursor"])["changes"] == []
    assert _status(editor, "/articles/changes/?cursor=nonsense") == 400


def _changes(person: Person, cursor: str) -> dict[str, Any]:
    path = f"/articles/changes/?cursor={cursor}"
    told: dict[str, Any] = person.run("return fetch(arguments[0]).then(answer => answer.json())", path)
    return told


# -- Who may, and what can't be done to who does


def test_who_is_no_superuser_is_sent_to_sign_in(newsstand: Newsstand, person: Person, kept: Kept) -> None:
    """Also staff that may change and delete articles; the sign-in lets those through to the admin's front page."""
    newsstand.manage("shell", "--verbosity=0", "-c", STAFF)
    pages = [f"{kept.admin}history/{page}" for page in ("", "revert/", f"{kept.versions[0]}/", "1/rollback/")]
    for page in pages:
        person.open(page)
        assert _path(person) == "/admin/login/"
    person.sign_in("assistant")
    person.open(kept.admin)
    assert person.find("//input[@name='title']").get_attribute("value") == "The tram, at last"
    assert person.browser.find_elements(By.XPATH, "//a[normalize-space()='Delete for ever']") == []
    for page in pages:
        person.open(page)
        assert _path(person) == "/admin/"
    assert kept.row == ("The tram, at last", "It ends.", "", 3)


@pytest.mark.parametrize("hostile", [SCRIPT, IMAGE], ids=["script", "image"])
def test_hostile_text_stays_text_on_every_page(newsstand: Newsstand, editor: Person, hostile: str) -> None:
    """In titles, summaries, bodies, comments of revisions and of readers."""
    kept = _made(newsstand, [("The tram", "It begins.", hostile), (hostile, hostile, hostile)], hostile)
    first, second = kept.versions
    preview = f"history/revert/?version_id={first}&version_id={second}"
    pages = ["", "history/", f"history/{second}/", preview, f"history/{first}/rollback/", "delete/", "delete-for-ever/"]
    try:
        for page in pages:
            editor.open(f"{kept.admin}{page}")
            assert "taken over" in editor.run("return document.body.textContent"), page
            _is_unharmed(editor)
        editor.open(f"{kept.admin}delete/")
        editor.press("Yes, I’m sure")
        _is_unharmed(editor)
        editor.open(f"{ARTICLES}?deleted=yes")
        assert _titles(editor) == [hostile]
        _is_unharmed(editor)
    finally:
        _forget(newsstand, kept)


def _is_unharmed(person: Person) -> None:
    assert person.run("return document.querySelectorAll('img[src=x]').length") == 0
    assert person.browser.title != "taken over"
    assert person.complaints() == []
