"""Lists, shows, mends and discards dead letters."""

from __future__ import annotations

import base64
import getpass
import json
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import models
from django.utils import timezone

from footfall.storage.letters import LetterSettledError, discard, mend
from footfall.storage.models import DeadLetter
from footfall.storage.printable import printable, readable
from footfall.workers.selection import Selection, add_filters, at_least_one, database_of, letter_id

SHOWN_BYTES = 8 * 1024
ERROR_WIDTH = 70
LIST_LIMIT = 50

COLUMNS = ("id", "state", "reason", "kind", "queue", "stage", "last seen", "tries", "mended", "error")
FIELDS = ("state", "reason", "error", "stage", "kind", "queue", "message_id", "position", "event_id", "attempts")
TIMES = ("first_seen", "last_seen", "settled_at")

EPILOG = """
What is stored comes from strangers: characters that could act on a terminal are shown as escapes.

examples:
  dead_letters --count                                how many, by reason
  dead_letters --reason bad_event --since 2h          the last ones of a reason
  dead_letters --show 12                              one of them, with its bytes
  dead_letters --edit 12 --body mended.json           mend it; then: replay_dead_letters --id 12
  dead_letters --discard --reason not_json --dry-run  how many would be discarded
"""


class Command(BaseCommand):
    help = "Lists dead letters (newest first), or shows, mends or discards them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--show", type=letter_id, metavar="PK", help="show one letter whole")
        what.add_argument("--count", action="store_true", help="count the selected letters by reason")
        what.add_argument("--discard", action="store_true", help="discard the selected open letters")
        what.add_argument(
            "--edit", type=letter_id, metavar="PK", help="mend an open letter; its original bytes are kept"
        )
        add_filters(parser)
        parser.add_argument(
            "--state", choices=[*DeadLetter.State.values, "all"], help="letters in this state (default: open)"
        )
        parser.add_argument("--limit", type=int, metavar="N", help=f"list at most N letters (default: {LIST_LIMIT})")
        parser.add_argument("--format", choices=["text", "json"], default="text", help="default: text")
        parser.add_argument("--full", action="store_true", help="with --show: don't cut the bytes")
        parser.add_argument("--body", metavar="FILE", help="with --edit: the mended bytes; - reads them from stdin")
        parser.add_argument("--all", action="store_true", help="with --discard: every open letter, without a filter")
        parser.add_argument("--yes", action="store_true", help="with --discard: don't ask")
        parser.add_argument("--dry-run", action="store_true", help="with --discard: say how many, and change nothing")

    def handle(self, **options: Any) -> None:
        refuse_contradictions(options)
        now = datetime.now(UTC)
        letters = DeadLetter.objects.using(database_of(options))
        selection = Selection.of(options, now)
        as_json = options["format"] == "json"
        if options["show"] is not None:
            self._show(_get(letters, options["show"]), as_json, None if options["full"] else SHOWN_BYTES)
        elif options["edit"] is not None:
            self._edit(_get(letters, options["edit"]), options["body"], now)
        elif options["discard"]:
            self._discard(selection, letters, options, now)
        elif options["count"]:
            self._count(_in_state(selection.among(letters), options["state"]), as_json)
        else:
            self._list(_in_state(selection.among(letters), options["state"]), options["limit"] or LIST_LIMIT, as_json)

    # -- Looking

    def _list(self, letters: models.QuerySet[DeadLetter], limit: int, as_json: bool) -> None:
        if as_json:
            self._write_array(letters[:limit])
            return
        rows = [_row(letter) for letter in letters.defer("body", "edited_body")[:limit]]
        if not rows:
            self.stdout.write("There are no such dead letters.")
            return
        self.stdout.writelines(f"{line}\n" for line in aligned([COLUMNS, *rows]))
        if len(rows) == limit and (total := letters.count()) > limit:
            self.stdout.write(f"{limit} of {total}; --limit shows more.")

    def _write_array(self, letters: models.QuerySet[DeadLetter]) -> None:
        # One by one: fifty bodies may be hundreds of megabytes.
        separator = "["
        for letter in letters.iterator(chunk_size=1):
            self.stdout.write(f"{separator}\n{_json(document(letter))}", ending="")
            separator = ","
        self.stdout.write("[]" if separator == "[" else "\n]")

    def _count(self, letters: models.QuerySet[DeadLetter], as_json: bool) -> None:
        pairs = letters.order_by().values_list("reason").annotate(number=models.Count("pk"))
        counts = dict(pairs.order_by("-number", "reason"))
        if as_json:
            self.stdout.write(_json(counts))
            return
        rows = [(printable(reason), str(count)) for reason, count in counts.items()]
        self.stdout.writelines(f"{line}\n" for line in aligned([*rows, ("total", str(sum(counts.values())))]))

    def _show(self, letter: DeadLetter, as_json: bool, limit: int | None) -> None:
        if as_json:
            self.stdout.write(_json(document(letter)))
            return
        facts = [("id", str(letter.pk))]
        facts += [(name, printable(_text(getattr(letter, name)))) for name in (*FIELDS, *TIMES)]
        self.stdout.writelines(f"{line}\n" for line in aligned(facts))
        self._show_bytes("original", bytes(letter.body), limit)
        if letter.edited_body is not None:
            who = printable(letter.edited_by)
            self._show_bytes(f"mended by {who} at {_text(letter.edited_at)}", bytes(letter.edited_body), limit)

    def _show_bytes(self, title: str, body: bytes, limit: int | None) -> None:
        # Indented, so that no line of theirs passes for one of ours.
        self.stdout.write(f"\n{title}, {len(body)} bytes:")
        self.stdout.writelines(f"    {line}\n" for line in readable(body, limit).split("\n"))
        if limit is not None and len(body) > limit:
            self.stdout.write("--full shows all of it.")

    # -- Changing

    def _edit(self, letter: DeadLetter, source: str, now: datetime) -> None:
        body = _read(source)
        if not body:
            raise CommandError("--body is empty. To get rid of a letter: --discard.")
        try:
            mend(letter, body, operator(), now)
        except LetterSettledError:
            raise CommandError(f"Dead letter {letter.pk} is {letter.state}; only an open one can be mended.") from None
        self.stdout.write(f"Mended, {len(body)} bytes. To apply it: replay_dead_letters --id {letter.pk}")

    def _discard(
        self,
        selection: Selection,
        letters: models.QuerySet[DeadLetter],
        options: dict[str, Any],
        now: datetime,
    ) -> None:
        wanted = selection.among(letters).filter(state=DeadLetter.State.OPEN)
        found = wanted.aggregate(count=models.Count("pk"), last=models.Max("pk"))
        if not found["count"]:
            self.stdout.write("Nothing to discard: no open dead letter is selected.")
        elif options["dry_run"]:
            self.stdout.write(f"{found['count']} dead letters would be discarded.")
        elif options["yes"] or self._confirmed(found["count"]):
            # None that came in while the question stood.
            count = discard(wanted.filter(pk__lte=found["last"]), operator(), now)
            self.stdout.write(f"{count} dead letters discarded.")
        else:
            self.stdout.write("Nothing was discarded.")

    def _confirmed(self, count: int) -> bool:
        if not sys.stdin.isatty():
            raise CommandError(f"{count} dead letters are selected. --yes discards them without a question.")
        answer = input(f"Discard {count} dead letters? They can't be replayed then. [y/N] ")
        return answer.strip().lower() in ("y", "yes")


def refuse_contradictions(options: dict[str, Any]) -> None:
    """Raise CommandError for options that don't go together, rather than do something else than was meant."""
    at_least_one(options["limit"])
    if (options["body"] is None) != (options["edit"] is None):
        raise CommandError("--edit PK and --body FILE go together.")
    one = options["show"] is not None or options["edit"] is not None
    if one and (any(options[name] is not None for name in ("reason", "kind", "since", "id", "state", "limit"))):
        raise CommandError("--show and --edit take a letter's number and no filter.")
    if not options["discard"]:
        if options["all"] or options["yes"] or options["dry_run"]:
            raise CommandError("--all, --yes and --dry-run go with --discard.")
        return
    if options["state"] not in (None, DeadLetter.State.OPEN):
        raise CommandError("Only open letters can be discarded.")
    if options["limit"] is not None:
        raise CommandError("--limit does not go with --discard: name the letters by filters.")
    filtered = any(options[name] for name in ("reason", "kind", "since", "id"))
    if filtered == options["all"]:
        raise CommandError("--discard takes filters, or --all and no filter.")


def operator() -> str:
    """The name of the user of the operating system who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return f"uid {os.getuid()}"


def document(letter: DeadLetter) -> dict[str, Any]:
    """The letter as JSON takes it: bodies as text, and in base64 too where they are not UTF-8."""
    facts: dict[str, Any] = {"id": letter.pk, **{name: getattr(letter, name) for name in FIELDS}}
    facts |= {name: getattr(letter, name) for name in TIMES}
    facts |= _bytes_as_json("body", letter.body)
    facts |= _bytes_as_json("edited_body", letter.edited_body)
    return facts | {"edited_by": letter.edited_by, "edited_at": letter.edited_at}


def _bytes_as_json(name: str, value: bytes | memoryview | None) -> dict[str, str | None]:
    if value is None:
        return {name: None}
    body = bytes(value)
    try:
        return {name: body.decode()}
    except UnicodeDecodeError:
        text = body.decode("utf-8", "backslashreplace")
        return {name: text, f"{name}_base64": base64.b64encode(body).decode()}


def _json(value: Any) -> str:
    # ASCII only, where JSON escapes every control character but this one.
    return json.dumps(value, indent=2, default=_plain).replace("\x7f", "\\u007f")


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """The rows as lines with columns of one width; the last one is as wide as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths[-1] = 0
    return ("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(letter: DeadLetter) -> tuple[str, ...]:
    error = letter.error if len(letter.error) <= ERROR_WIDTH else f"{letter.error[: ERROR_WIDTH - 1]}…"
    mended = "" if letter.edited_at is None else "yes"
    facts = (letter.state, letter.reason, letter.kind, letter.queue, letter.stage, _text(letter.last_seen))
    return tuple(printable(text) for text in (str(letter.pk), *facts, str(letter.attempts), mended, error))


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return timezone.localtime(value).isoformat(sep=" ", timespec="seconds")
    return "" if value is None else str(value)


def _get(letters: models.QuerySet[DeadLetter], pk: int) -> DeadLetter:
    letter = letters.filter(pk=pk).first()
    if letter is None:
        raise CommandError(f"There is no dead letter {pk}.")
    return letter


def _in_state(letters: models.QuerySet[DeadLetter], state: str | None) -> models.QuerySet[DeadLetter]:
    return letters if state == "all" else letters.filter(state=state or DeadLetter.State.OPEN)


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f"--body {source}: {error.strerror}.") from None
