"""replay_dead_letters and dead_letters: what they select, what they change, and what they never print."""

import base64
import io
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import OperationalError
from newsroom.models import Article, ArticleTotals

from footfall.producers.messages import Increment, Ref, encode_event, encode_message, new_id
from footfall.producers.reasons import DEADLY
from footfall.storage.letters import LetterSettledError, discard, mend
from footfall.storage.models import AppliedMessage, DeadLetter, Tally
from footfall.workers.deadletters import bury
from footfall.workers.management.commands import replay_dead_letters
from footfall.workers.pipeline import Delivery, apply
from footfall.workers.selection import parse_since

pytestmark = pytest.mark.django_db

QUEUE = "footfall.increments"
NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
ESCAPES = b"\x1b]0;owned\x07 \x9b31m \x7f \xe2\x80\xae \r <- \x00"


@pytest.fixture
def article() -> Article:
    return Article.objects.create(title="Read by many")


def increment(article: Article, field: str = "views", value: int = 1) -> bytes:
    ref = Ref("newsroom.article", str(article.pk))
    now = datetime.now(UTC)
    return encode_event(
        Increment(id=new_id(), at=now, dataset="newsroom.articletotals", object=ref, field=field, value=value)
    )


def message(*events: bytes) -> bytes:
    return encode_message(QUEUE, new_id(), time.time_ns() // 1_000_000, events)


def dead(body: bytes, queue: str = QUEUE) -> DeadLetter:
    """The letter that ``body`` becomes."""
    assert apply([Delivery(body, queue)]).dead == 1
    return DeadLetter.objects.order_by("-pk")[0]


def dead_event(article: Article) -> DeadLetter:
    return dead(message(increment(article, "viewz")))


def views(article: Article) -> int:
    return sum(ArticleTotals.objects.filter(object_id=str(article.pk)).values_list("views", flat=True))


def run(*arguments: object) -> str:
    out = io.StringIO()
    call_command(*map(str, arguments), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def everything() -> dict[str, list[dict[str, Any]]]:
    """Every row that a replay may touch."""
    models: tuple[Any, ...] = (DeadLetter, AppliedMessage, Tally, ArticleTotals)
    return {model.__name__: list(model.objects.order_by("pk").values()) for model in models}


# -- replay_dead_letters


def test_a_mended_event_is_applied_once_however_often_it_is_replayed(article: Article) -> None:
    """The second replay finds nothing."""
    letter = dead_event(article)
    mend(letter, increment(article, value=3), "ann", NOW)

    first = run("replay_dead_letters")
    before = everything()
    second = run("replay_dead_letters")

    assert "replayed:       1\nstill dead:     0\n" in first
    assert "Nothing to replay" in second
    assert views(article) == 3
    assert everything() == before


def test_a_mended_delivery_is_applied_once_also_when_it_comes_again(article: Article) -> None:
    """Its message id stands in the ledger, whether it came by a replay or by its queue."""
    letter = dead(b"{")
    mended = message(increment(article), increment(article))
    mend(letter, mended, "ann", NOW)

    run("replay_dead_letters")
    totals = apply([Delivery(mended, QUEUE)])

    assert totals.duplicate == 2
    assert views(article) == 2


def test_a_delivery_that_was_applied_meanwhile_is_not_applied_again(article: Article) -> None:
    """The publisher sent it again by itself before anybody mended the broken copy."""
    letter = dead(b"{")
    mended = message(increment(article))
    apply([Delivery(mended, QUEUE)])
    mend(letter, mended, "ann", NOW)

    assert "replayed:       1" in run("replay_dead_letters")
    assert views(article) == 1


def test_what_dies_again_stays_open_with_its_new_reason_and_that_is_no_error(article: Article) -> None:
    """The command succeeds and counts it under the reason."""
    letter = dead(b"{")
    mend(letter, b'{"a": 1}', "ann", NOW)

    said = run("replay_dead_letters")

    letter.refresh_from_db()
    assert "still dead:     1\n  bad_envelope: 1\n" in said
    assert (letter.state, letter.reason, letter.attempts) == ("open", "bad_envelope", 2)


def test_a_mended_delivery_some_of_whose_events_die_leaves_a_letter_for_each_of_them(article: Article) -> None:
    """The good ones are applied, the others are mended on their own."""
    letter = dead(b"{")
    bad = increment(article, "viewz")
    mend(letter, message(increment(article), bad, increment(article)), "ann", NOW)

    run("replay_dead_letters")
    left = DeadLetter.objects.get(state="open")
    mend(left, increment(article), "ann", NOW)
    run("replay_dead_letters")

    assert (left.position, left.reason, bytes(left.body)) == (1, "unknown_field", bad)
    assert views(article) == 3
    assert not DeadLetter.objects.filter(state="open").exists()


def test_a_dry_run_says_what_would_come_of_it_and_changes_nothing(article: Article) -> None:
    """No letter, ledger entry, tally or counter is other than before."""
    mend(dead(b"{"), message(increment(article), increment(article, "viewz")), "ann", NOW)
    mend(dead_event(article), increment(article), "ann", NOW)
    dead(b"null")
    before = everything()

    said = run("replay_dead_letters", "--dry-run")

    assert "replayed:       2\n" in said
    assert "  bad_envelope: 1\n" in said
    assert "rolled back" in said
    assert everything() == before


def test_discarded_letters_are_not_replayed(article: Article) -> None:
    """Discarded means that nobody wants it applied."""
    mend(dead_event(article), increment(article), "ann", NOW)
    discard(DeadLetter.objects.all(), "ann", NOW)

    assert "Nothing to replay" in run("replay_dead_letters")
    assert views(article) == 0


def test_the_limit_takes_the_oldest(article: Article) -> None:
    """What came first is applied first."""
    letters = [dead_event(article) for _ in range(3)]

    run("replay_dead_letters", "--limit", 2)

    assert [DeadLetter.objects.get(pk=letter.pk).attempts for letter in letters] == [2, 2, 1]


@pytest.fixture
def letters(article: Article) -> dict[str, DeadLetter]:
    """One of each that the filters tell apart, by a name."""
    found = {
        "not_json": dead(b"{"),
        "bad_envelope": dead(b"null", "footfall.views"),
        "unknown_field": dead_event(article),
        "old": dead(b"[]"),
    }
    DeadLetter.objects.filter(pk=found["old"].pk).update(last_seen=datetime.now(UTC) - timedelta(days=3))
    return found


SELECTIONS = [
    pytest.param(["--reason", "not_json"], {"not_json"}, id="a reason"),
    pytest.param(
        ["--reason", "not_json", "--reason", "unknown_field"], {"not_json", "unknown_field"}, id="two reasons"
    ),
    pytest.param(["--kind", "view"], {"bad_envelope"}, id="a kind"),
    pytest.param(["--since", "2h"], {"not_json", "bad_envelope", "unknown_field"}, id="since hours"),
    pytest.param(["--since", "4d"], {"not_json", "bad_envelope", "unknown_field", "old"}, id="since days"),
    pytest.param(
        ["--since", "2020-01-01", "--reason", "bad_envelope"], {"bad_envelope", "old"}, id="both of two filters"
    ),
]


@pytest.mark.parametrize(("arguments", "names"), SELECTIONS)
def test_a_replay_takes_what_its_filters_say(
    letters: dict[str, DeadLetter], arguments: list[str], names: set[str]
) -> None:
    """A letter that was tried shows it in its attempts."""
    run("replay_dead_letters", *arguments)

    tried = DeadLetter.objects.filter(attempts=2).values_list("pk", flat=True)
    assert set(tried) == {letters[name].pk for name in names}


@pytest.mark.parametrize(("arguments", "names"), SELECTIONS)
def test_the_list_shows_what_its_filters_say(
    letters: dict[str, DeadLetter], arguments: list[str], names: set[str]
) -> None:
    """The same filters select the same letters in both commands."""
    shown = json.loads(run("dead_letters", "--format", "json", *arguments))

    assert {row["id"] for row in shown} == {letters[name].pk for name in names}


def test_letters_are_selected_by_number(letters: dict[str, DeadLetter]) -> None:
    """Repeated, the option selects several."""
    wanted = {letters["old"].pk, letters["not_json"].pk}

    shown = json.loads(run("dead_letters", "--format", "json", *(f"--id={pk}" for pk in wanted)))

    assert {row["id"] for row in shown} == wanted


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        pytest.param("90s", NOW - timedelta(seconds=90), id="seconds"),
        pytest.param("30m", NOW - timedelta(minutes=30), id="minutes"),
        pytest.param("1w", NOW - timedelta(weeks=1), id="weeks"),
        pytest.param("2026-06-01", datetime(2026, 5, 31, 22, tzinfo=UTC), id="midnight in the site's time zone"),
        pytest.param("2026-06-01T10:30", datetime(2026, 6, 1, 8, 30, tzinfo=UTC), id="time in the site's time zone"),
        pytest.param("2026-06-01T10:30Z", datetime(2026, 6, 1, 10, 30, tzinfo=UTC), id="time with a zone"),
    ],
)
def test_since_takes_ages_dates_and_times(text: str, moment: datetime) -> None:
    """Held against a clock that is passed in."""
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-2h", "2y", "2026-13-01", "9" * 30 + "d", "9" * 5000 + "d", "0001-01-01"]
)
def test_since_says_what_it_takes_when_it_can_not_read_it(text: str) -> None:
    """No traceback, whatever was typed."""
    with pytest.raises(CommandError, match="neither an ISO date"):
        parse_since(text, NOW)


@pytest.mark.parametrize("command", ["replay_dead_letters", "dead_letters"])
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--reason", "spite"], "invalid choice: 'spite'", id="reason"),
        pytest.param(["--kind", "spite"], "invalid choice: 'spite'", id="kind"),
        pytest.param(["--since", "spite"], "neither an ISO date", id="since"),
        pytest.param(["--id", "spite"], "'spite' is not the number", id="id"),
        pytest.param(["--id", "9" * 40], "is not the number", id="id that no column holds"),
        pytest.param(["--limit", "0"], "at least 1", id="limit"),
        pytest.param(["--database", "spite"], "no database 'spite'", id="database"),
    ],
)
def test_bad_input_is_explained(command: str, arguments: list[str], complaint: str) -> None:
    """An operator sees what is wrong, not a traceback."""
    with pytest.raises(CommandError, match=complaint):
        run(command, *arguments)


def test_a_replay_that_the_database_stops_says_so(article: Article, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it can be run again; what the error quotes can't act on the terminal."""

    def replay(*arguments: Any, **options: Any) -> None:
        raise OperationalError("away \x1b[2J")

    dead_event(article)
    monkeypatch.setattr(replay_dead_letters, "replay", replay)

    with pytest.raises(CommandError, match=r"stopped: away \\x1b\[2J\nIt can be run again"):
        run("replay_dead_letters")


# -- dead_letters


def test_the_list_shows_open_letters_newest_first_in_columns(letters: dict[str, DeadLetter]) -> None:
    """Every column begins at the same place in each line; what is settled is left out."""
    discard(DeadLetter.objects.filter(pk=letters["not_json"].pk), "ann", NOW)

    header, *rows = run("dead_letters").splitlines()

    assert [int(row.split()[0]) for row in rows] == [letters[n].pk for n in ("unknown_field", "bad_envelope", "old")]
    assert all(row[header.index(" error") :].startswith(" ") for row in rows)
    assert all(row[header.index("reason") - 1] == " " for row in rows)


@pytest.mark.parametrize(("state", "count"), [("open", 2), ("discarded", 1), ("replayed", 1), ("all", 4)])
def test_the_list_shows_the_state_that_is_asked_for(
    letters: dict[str, DeadLetter], article: Article, state: str, count: int
) -> None:
    """Settled letters stay to be read."""
    discard(DeadLetter.objects.filter(pk=letters["not_json"].pk), "ann", NOW)
    mend(letters["unknown_field"], increment(article), "ann", NOW)
    run("replay_dead_letters", "--id", letters["unknown_field"].pk)

    assert len(json.loads(run("dead_letters", "--format", "json", "--state", state))) == count


def test_a_list_that_is_cut_says_so(letters: dict[str, DeadLetter]) -> None:
    """Nobody takes a page for the whole."""
    assert "2 of 4; --limit shows more." in run("dead_letters", "--limit", 2)
    assert "--limit" not in run("dead_letters", "--limit", 4)


def test_letters_are_counted_by_reason(letters: dict[str, DeadLetter]) -> None:
    """The most frequent first."""
    assert run("dead_letters", "--count").split() == [
        *("bad_envelope", "2"),
        *("not_json", "1"),
        *("unknown_field", "1"),
        *("total", "4"),
    ]
    assert json.loads(run("dead_letters", "--count", "--format", "json")) == {
        "bad_envelope": 2,
        "not_json": 1,
        "unknown_field": 1,
    }


@pytest.mark.parametrize(
    "arguments", [["--show"], ["--id"], ["--format=json", "--show"], ["--format=json", "--id"]], ids=" ".join
)
@pytest.mark.parametrize(
    "body", [ESCAPES, b'{"a": "' + ESCAPES * 9 + b'"}' + b"plain text " * 99], ids=["binary", "text"]
)
def test_control_characters_never_reach_the_terminal(body: bytes, arguments: list[str]) -> None:
    """Not from a body, an error or a name, in no format: only printable characters and newlines."""
    letter = dead(body)
    DeadLetter.objects.filter(pk=letter.pk).update(
        error=f"\x1b[2J\x9b\x7f\u202e\r\n{letter.error}",
        queue="\x1b[31m",
        kind="\x07",
        edited_by="\x1b",
        edited_body=body,
    )

    said = run("dead_letters", *arguments, letter.pk)

    assert all(line.isprintable() for line in said.split("\n"))
    assert r"\x1b" in said or r"\u001b" in said or "1b 5d 30" in said


def test_no_line_of_a_body_passes_for_one_of_ours() -> None:
    """A body's lines are indented."""
    letter = dead(b"{\nstate      replayed\nmended by root at noon, 3 bytes:\n")

    said = run("dead_letters", "--show", letter.pk)

    assert [line for line in said.splitlines() if line.startswith(("state", "mended"))] == ["state       open"]


def test_binary_bytes_are_shown_as_a_hexdump() -> None:
    """Offset, bytes, and what of them is ASCII."""
    letter = dead(bytes(range(256)))

    assert f"00000040  {bytes(range(0x40, 0x50)).hex(' ')}  |@ABCDEFGHIJKLMNO|" in run(
        "dead_letters", "--show", letter.pk
    )


def test_a_long_body_is_cut_unless_all_of_it_is_asked_for() -> None:
    """The cut says how much there is."""
    letter = dead(b"{" + b"x" * 20_000 + b"the end")

    cut, full = run("dead_letters", "--show", letter.pk), run("dead_letters", "--show", letter.pk, "--full")

    assert "8192 of 20008 bytes" in cut and "the end" not in cut
    assert "the end" in full and "cut" not in full


def test_json_holds_every_byte(article: Article) -> None:
    """As text, and in base64 too where text could not say it."""
    text, binary = dead('{"é'.encode()), dead(b"\xff\x00\xfe")
    mend(text, b"\xff", "ann", NOW)

    shown = {row["id"]: row for row in json.loads(run("dead_letters", "--format", "json"))}
    alone = json.loads(run("dead_letters", "--format", "json", "--show", text.pk))

    assert alone == shown[text.pk]
    assert (alone["body"], "body_base64" in alone) == ('{"é', False)
    assert base64.b64decode(alone["edited_body_base64"]) == b"\xff"
    assert base64.b64decode(shown[binary.pk]["body_base64"]) == b"\xff\x00\xfe"
    assert (alone["edited_by"], alone["edited_at"]) == ("ann", NOW.isoformat())


def test_json_of_nothing_is_an_empty_array() -> None:
    """A script needs no special case."""
    assert json.loads(run("dead_letters", "--format", "json")) == []


def test_a_letter_that_is_not_there_is_an_error() -> None:
    """By its number."""
    with pytest.raises(CommandError, match="no dead letter 12345"):
        run("dead_letters", "--show", 12345)


def test_discard_settles_what_is_selected_and_keeps_the_rows(letters: dict[str, DeadLetter]) -> None:
    """Bytes stay to be read."""
    assert "1 dead letters discarded." in run("dead_letters", "--discard", "--reason", "not_json", "--yes")

    assert DeadLetter.objects.get(state="discarded").pk == letters["not_json"].pk
    assert DeadLetter.objects.count() == 4


def test_a_discard_without_a_filter_needs_all(letters: dict[str, DeadLetter]) -> None:
    """A forgotten filter throws nothing away."""
    with pytest.raises(CommandError, match="filters, or --all"):
        run("dead_letters", "--discard", "--yes")
    assert not DeadLetter.objects.exclude(state="open").exists()

    run("dead_letters", "--discard", "--yes", "--all")

    assert not DeadLetter.objects.filter(state="open").exists()


def test_a_discards_dry_run_says_how_many(letters: dict[str, DeadLetter]) -> None:
    """And changes nothing."""
    before = everything()

    assert "4 dead letters would be discarded" in run("dead_letters", "--discard", "--all", "--dry-run")
    assert everything() == before


class Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes, isatty: bool) -> None:
        super().__init__(io.BytesIO(data))
        self._isatty = isatty

    def isatty(self) -> bool:
        return self._isatty


@pytest.mark.parametrize(("answer", "left"), [(b"y\n", 0), (b"n\n", 4), (b"\n", 4)], ids=["yes", "no", "return"])
def test_a_discard_asks_on_a_terminal(
    letters: dict[str, DeadLetter], monkeypatch: pytest.MonkeyPatch, answer: bytes, left: int
) -> None:
    """Only a yes is one."""
    monkeypatch.setattr("sys.stdin", Stdin(answer, isatty=True))

    run("dead_letters", "--discard", "--all")

    assert DeadLetter.objects.filter(state="open").count() == left


def test_a_discard_without_a_terminal_needs_yes(
    letters: dict[str, DeadLetter], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cron job doesn't hang at a question."""
    monkeypatch.setattr("sys.stdin", Stdin(b"y\n", isatty=False))

    with pytest.raises(CommandError, match="--yes"):
        run("dead_letters", "--discard", "--all")
    assert DeadLetter.objects.filter(state="open").count() == 4


def test_a_discard_goes_to_the_log_with_who(letters: dict[str, DeadLetter], caplog: pytest.LogCaptureFixture) -> None:
    """The row has no place for it."""
    with caplog.at_level("INFO", logger="footfall.letters"):
        discard(DeadLetter.objects.filter(reason="bad_envelope"), "ann", NOW)

    assert caplog.messages == ["2 dead letters discarded by 'ann'."]


@pytest.mark.parametrize("source", ["a file", "-"])
def test_a_letter_is_mended_from_the_command_line(
    article: Article, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """The original is kept; who and when are recorded; a replay takes the mended bytes."""
    letter = dead_event(article)
    original, mended = bytes(letter.body), increment(article)
    if source == "a file":
        source = str(tmp_path / "mended.json")
        Path(source).write_bytes(mended)
    monkeypatch.setattr("sys.stdin", Stdin(mended, isatty=False))
    monkeypatch.setattr("getpass.getuser", lambda: "ann")

    said = run("dead_letters", "--edit", letter.pk, "--body", source)
    run(*said.split(": ")[1].split())

    letter.refresh_from_db()
    assert (bytes(letter.body), bytes(letter.edited_body or b""), letter.edited_by) == (original, mended, "ann")
    assert letter.edited_at is not None
    assert (letter.state, views(article)) == ("replayed", 1)


def test_a_user_without_a_name_is_known_by_number(
    article: Article, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    letter = dead_event(article)
    (tmp_path / "mended").write_bytes(b"mended")
    monkeypatch.setattr("getpass.getuser", nameless)

    run("dead_letters", "--edit", letter.pk, "--body", tmp_path / "mended")

    letter.refresh_from_db()
    assert letter.edited_by == f"uid {os.getuid()}"


def test_a_settled_letter_can_not_be_mended(article: Article, tmp_path: Path) -> None:
    """Neither by the command nor beneath it, where it was settled a moment ago."""
    letter = dead_event(article)
    discard(DeadLetter.objects.all(), "ann", NOW)
    (tmp_path / "mended").write_bytes(b"mended")

    with pytest.raises(CommandError, match="is discarded; only an open one"):
        run("dead_letters", "--edit", letter.pk, "--body", tmp_path / "mended")
    with pytest.raises(LetterSettledError):
        mend(letter, b"mended", "ann", NOW)

    letter.refresh_from_db()
    assert letter.edited_body is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param(["--edit", "1"], "go together", id="edit without body"),
        pytest.param(["--body", "x"], "go together", id="body without edit"),
        pytest.param(["--show", "1", "--reason", "not_json"], "no filter", id="show with a filter"),
        pytest.param(["--yes"], "go with --discard", id="yes without discard"),
        pytest.param(["--all"], "go with --discard", id="all without discard"),
        pytest.param(["--edit", "1", "--body", "x", "--dry-run"], "go with --discard", id="dry run of an edit"),
        pytest.param(["--discard", "--all", "--limit", "3"], "--limit does not go", id="discard with a limit"),
        pytest.param(["--discard", "--all", "--state", "replayed"], "Only open", id="discard of settled ones"),
        pytest.param(["--discard", "--all", "--kind", "view"], "filters, or --all", id="all with a filter"),
        pytest.param(["--discard", "--show", "1"], "not allowed with", id="two commands in one"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: list[str], complaint: str) -> None:
    """Rather than that something else is done than was meant."""
    with pytest.raises(CommandError, match=complaint):
        run("dead_letters", *arguments)


@pytest.mark.parametrize("body", [None, b""], ids=["missing", "empty"])
def test_a_body_that_is_not_there_mends_nothing(article: Article, tmp_path: Path, body: bytes | None) -> None:
    """A wrong path, or a pipe that brought nothing."""
    letter = dead_event(article)
    if body is not None:
        (tmp_path / "mended").write_bytes(body)

    with pytest.raises(CommandError, match="--body"):
        run("dead_letters", "--edit", letter.pk, "--body", tmp_path / "mended")

    letter.refresh_from_db()
    assert letter.edited_body is None


def test_every_reason_can_be_filtered_by() -> None:
    """What the pipeline writes, the commands take."""
    for reason in DEADLY:
        assert run("dead_letters", "--reason", reason.value).strip() == "There are no such dead letters."


def test_a_letter_that_took_its_worker_down_is_not_run_unless_it_is_named() -> None:
    """It would take down the command, and with the admin's button the site."""
    bury(Delivery(b"never to be run", "footfall.views"), error="2 workers ended while they applied it.")

    out = run("replay_dead_letters")
    assert "left out:       1" in out
    assert DeadLetter.objects.get().reason == "killed_worker"

    out = run("replay_dead_letters", "--reason", "killed_worker")
    assert "left out" not in out
    assert DeadLetter.objects.get().reason == "not_json"
