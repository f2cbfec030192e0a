"""Runs dead letters through the pipeline again, in place."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from footfall.storage.models import DeadLetter
from footfall.storage.printable import printable
from footfall.storage.progress import Progress
from footfall.workers.failures import Fault
from footfall.workers.replay import Summary, replay
from footfall.workers.selection import Selection, add_filters, at_least_one, database_of

EPILOG = """
Each letter is applied exactly once: what another replay has in hand is left to it, what is settled is not
touched. A letter that dies again stays open with its new reason; that is no error (exit code 0). Letters that
were mended (in the admin, or by `dead_letters --edit`) are replayed with the mended bytes.

examples:
  replay_dead_letters --dry-run                              what would come of it
  replay_dead_letters --reason unknown_version --since 2d    after a deploy that knows the version
  replay_dead_letters --id 12 --id 15                        two that were mended
"""


class Command(BaseCommand):
    help = "Replays open dead letters in place: applies them now, exactly once, without a broker."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        add_filters(parser)
        parser.add_argument("--limit", type=int, metavar="N", help="replay at most N letters, oldest first")
        parser.add_argument("--dry-run", action="store_true", help="do all of it, say what came of it, and roll back")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        now = datetime.now(UTC)
        limit = at_least_one(options["limit"])
        letters = Selection.of(options, now).among(DeadLetter.objects.using(database_of(options)))
        found = letters.filter(state=DeadLetter.State.OPEN).count()
        total = found if limit is None else min(found, limit)
        if not total:
            self.stdout.write("Nothing to replay: no open dead letter is selected.")
            return
        progress = None if options["no_progress"] else Progress(self.stderr, total, "dead letters")
        work = partial(
            replay,
            letters,
            dry_run=options["dry_run"],
            killers=bool(options["reason"] or options["id"]),
            limit=limit,
            now=now,
            progress=progress,
        )
        self._report(self._replay(work, options["dry_run"], progress), dry_run=options["dry_run"])

    def _replay(self, work: Callable[[], Summary], dry_run: bool, progress: Any) -> Summary:
        try:
            return work()
        except (Error, Fault) as error:
            done = 0 if progress is None else progress.done
            kept = "nothing was kept" if dry_run else f"at least {done} letters were done before and stay so"
            why = printable(str(error), keep="\n")
            raise CommandError(f"The replay stopped: {why}\nIt can be run again; {kept}.") from error
        finally:
            if progress is not None:
                progress.close()

    def _report(self, summary: Summary, *, dry_run: bool) -> None:
        self.stdout.write(f"replayed:       {summary.replayed}")
        self.stdout.write(f"still dead:     {summary.still_dead}")
        for reason, count in summary.reasons.most_common():
            self.stdout.write(f"  {reason}: {count}")
        self.stdout.write(f"busy elsewhere: {summary.busy}")
        if summary.left_out:
            self.stdout.write(
                f"left out:       {summary.left_out}, which took their worker down and might take down this command: "
                "mend them, or name them by --reason or --id"
            )
        if dry_run:
            self.stdout.write("Dry run: all of it was rolled back.")
