"""How lists and actions read: plain text and HTML, numbers, and other languages."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone, translation
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from hypothesis import given
from hypothesis import strategies as st
from newsroom.models import Article, Column, Page, Topic

from footfall.storage.actions import ActionHandler
from footfall.storage.loading import Objects
from footfall.storage.models import Action, DeletedItem
from footfall.storage.resolving import Hidden
from footfall.storage.sentences import enumeration, first_url, link_to, name_of, sentence, url_of

NAMES = st.lists(st.text(), max_size=8)


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b and 2 others"),
        (["a", "b", "c", "d", "e"], "a, b and 3 others"),
    ],
    ids=len,
)
def test_ac_57_a_list_of_0_to_5_items(names: list[str], text: str) -> None:
    assert enumeration(names) == text


@given(NAMES)
def test_ac_57_a_list_names_all_of_three_and_two_of_more_whatever_they_are_called(names: list[str]) -> None:
    """Names with braces and percent signs, too: they are put into a pattern, never taken as one."""
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} others"]
    commas = ", ".join(shown[:-1])
    assert enumeration(names) == (f"{commas} and {shown[-1]}" if len(shown) > 1 else "".join(shown))


@given(st.text(), st.text(), NAMES, NAMES)
def test_the_html_of_a_sentence_is_its_text_escaped(
    verb: str, actor: str, targets: list[str], related: list[str]
) -> None:
    text = sentence(verb, actor, targets, related)
    made = sentence(verb, actor, targets, related, format_html)
    assert isinstance(made, SafeString)
    assert made == escape(text)


@pytest.mark.parametrize(
    ("actor", "targets", "related", "text"),
    [
        ("bob", ["p"], [], "bob created p"),
        ("bob", ["p", "q"], ["t"], "bob created p and q in relation to t"),
        ("bob", [], [], "bob created"),
        ("bob", [], ["t", "u"], "bob created in relation to t and u"),
        (None, [], [], "created"),
        (None, [], ["t"], "created in relation to t"),
    ],
)
def test_a_sentence_has_the_parts_that_there_are(
    actor: str | None, targets: list[str], related: list[str], text: str
) -> None:
    assert sentence("created", actor, targets, related) == text


@pytest.mark.parametrize(
    ("targets", "text"),
    [
        (["p"], "p was created"),
        (["p", "q"], "p and q were created"),
        (["p", "q", "r", "s"], "p, q and 2 others were created"),
    ],
)
def test_ac_51_without_an_actor_the_targets_were_created(targets: list[str], text: str) -> None:
    assert sentence("created", None, targets, []) == text


def test_a_sentence_without_a_verb_says_nothing_of_catalogues() -> None:
    """The translation of an empty text is the head of the catalogue."""
    with translation.override("de"):
        assert sentence("", None, [], []) == ""


# -- Objects


def test_a_model_reads_as_its_plural_name() -> None:
    assert name_of(Article) == "articles"
    assert link_to(Article) == "articles"


@pytest.mark.parametrize(
    "obj",
    [
        DeletedItem(description="an <old> page"),
        Hidden(Column),
        Page(title="a page"),
        Topic,
        None,
    ],
    ids=lambda obj: type(obj).__name__,
)
def test_what_has_no_address_is_no_link(obj: Any) -> None:
    assert url_of(obj) == ""
    assert "<" not in link_to(obj)


def test_what_is_left_of_an_object_is_no_link_even_where_the_site_gives_it_an_address() -> None:
    item = DeletedItem(description="gone")
    item.get_absolute_url = lambda: "/gone/"  # type: ignore[attr-defined]  # as ABSOLUTE_URL_OVERRIDES does
    assert link_to(item) == "gone"


def test_an_object_with_an_address_is_a_link() -> None:
    assert link_to(Column(pk=7, title="Tom & Ann")) == '<a href="/columns/7/">Tom &amp; Ann</a>'
    assert first_url([None, Page(), Column(pk=7), Column(pk=8)]) == "/columns/7/"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\tscript:alert(1)",
        "\x01javascript:alert(1)",
        "data:text/html,<script>",
        "vbscript:x",
        "http://[",
        "",
    ],
)
def test_an_address_that_runs_or_does_not_open_is_no_link(address: str) -> None:
    column = Column(title="x")
    column.get_absolute_url = lambda: address  # type: ignore[method-assign]  # what a stranger filled in
    assert link_to(column) == "x"


def test_an_address_is_escaped() -> None:
    column = Column(title="x")
    column.get_absolute_url = lambda: '/"><script>'  # type: ignore[method-assign]  # what a stranger filled in
    assert link_to(column) == '<a href="/&quot;&gt;&lt;script&gt;">x</a>'


def test_a_name_that_calls_itself_safe_is_escaped_all_the_same() -> None:
    """What an object says of itself is stored text."""

    class Sly:
        def __str__(self) -> str:
            return mark_safe("<script>")

    assert link_to(Sly()) == "&lt;script&gt;"


# -- Other languages

GERMAN = {
    "": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n",
    "{first} and {second}": "{first} und {second}",
    "{first}, {second} and {others} other\0{first}, {second} and {others} others": (
        "{first}, {second} und {others} andere\0{first}, {second} und {others} andere"
    ),
    "{targets} was {verb}\0{targets} were {verb}": "{targets} wurde {verb}\0{targets} wurden {verb}",
    "{actor} {verb} {targets}": "{targets} hat {actor} {verb}",
    "{action} in relation to {related}": "{action} (zu {related})",
    "created": "erstellt",
    "{time} ago": "vor {time}",
    "{text}, {time}": "{time}: {text}",
}


def compiled(messages: dict[str, str]) -> bytes:
    """A catalogue as gettext reads it: the tables of offsets, then the texts in the order of the originals."""
    pairs = [(key.encode(), text.encode()) for key, text in sorted(messages.items())]
    columns = ([key for key, _ in pairs], [text for _, text in pairs])
    start = 28 + 16 * len(pairs)
    tables, texts = b"", b""
    for column in columns:
        for one in column:
            tables += struct.pack("<2I", len(one), start + len(texts))
            texts += one + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0) + tables + texts


@pytest.fixture
def german(settings: Any, tmp_path: Path) -> Iterator[None]:
    """A site that has translated Footfall's sentences, and its own verb."""
    catalogue = tmp_path / "de" / "LC_MESSAGES" / "django.mo"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_bytes(compiled(GERMAN))
    settings.LOCALE_PATHS = [str(tmp_path)]
    with translation.override("de"):
        yield


@pytest.mark.parametrize(
    ("actor", "targets", "related", "text"),
    [
        ("Bob", ["p", "q"], ["t"], "p und q hat Bob erstellt (zu t)"),
        (None, ["p"], [], "p wurde erstellt"),
        (None, ["p", "q"], [], "p und q wurden erstellt"),
        (None, ["p", "q", "r", "s", "t"], [], "p, q und 3 andere wurden erstellt"),
    ],
)
def test_a_sentence_is_translated_with_its_verb_its_order_and_its_plurals(
    german: None, actor: str | None, targets: list[str], related: list[str], text: str
) -> None:
    assert sentence("created", actor, targets, related) == text
    with translation.override("en"):
        assert "created" in sentence("created", actor, targets, related)


class Nobody(ActionHandler):
    """A handler of actions that are about nothing."""

    @property
    def objects(self) -> Objects:
        return Objects()


def test_a_time_is_translated_with_its_plurals(german: None) -> None:
    told = [
        Nobody(Action(verb="created", timestamp=timezone.now() - timedelta(minutes=minutes))).render()
        for minutes in (1, 5)
    ]
    assert told == ["vor 1 Minute: erstellt", "vor 5 Minuten: erstellt"]
