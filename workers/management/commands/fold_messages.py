"""Folds what is queued now, once, for sites that do it by cron or by hand."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from dramatiq.errors import ConnectionClosed

from footfall.producers.queues import INCREMENTS, QUEUES
from footfall.producers.settings import conf
from footfall.producers.shipper import PublishFailed
from footfall.producers.spool import SpoolError, current_spool
from footfall.storage.modelnames import dataset_named
from footfall.storage.printable import printable
from footfall.storage.progress import Progress
from footfall.workers import foldqueues, foldspool
from footfall.workers.failures import Fault, Transient
from footfall.workers.foldrun import FoldRun
from footfall.workers.held import count_held

EPILOG = """
Everything goes through the same pipeline as in a worker, exactly once, whoever else is at it. What comes in while
the command runs is left for the next run. With TRANSPORT "rabbitmq" this host's spool is shipped first; on the
embedded transport no worker may be running, since it holds the spool and applies what is queued by itself.

With datasets, only their increments are applied. What shares a message with them is set aside, and applied by the
next run that asks for it (or for everything), or by a worker. The same goes for the rest of a message in which
--max is reached. `dead_letters --reason held` lists it.

SIGINT and SIGTERM finish the batch at hand; a second one does not wait. After any error the command can be run again.

examples:
  fold_messages                                          everything, once a minute by cron
  fold_messages --dry-run                                how much is waiting
  fold_messages newsroom.ArticleDaily                    the increments of one dataset
  fold_messages newsroom.ArticleDaily newsroom.Totals    of two
  fold_messages --max 10000                              so many events and no more
"""

FAILURES = (Error, Transient, Fault, PublishFailed, ConnectionClosed, SpoolError, ImproperlyConfigured, OSError)
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Command(BaseCommand):
    help = "Applies what is queued now, all of it or some datasets' increments, and prints the exact counts."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument(
            "datasets",
            nargs="*",
            default=[],
            metavar="app.Dataset",
            help="apply only increments of these (default: everything)",
        )
        parser.add_argument("--max", type=int, metavar="N", help="apply at most N events")
        parser.add_argument("--dry-run", action="store_true", help="say how much is waiting, and apply nothing")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        datasets = {dataset_named(label)._meta.label_lower for label in options["datasets"]}
        if options["max"] is not None and options["max"] < 1:
            raise CommandError(f"--max {options['max']}: at least 1.")
        with ending_in_order() as stopped:
            run = FoldRun(datasets, options["max"], stopped)
            work = self._say_what_waits if options["dry_run"] else self._fold
            try:
                work(run, queues=(INCREMENTS,) if datasets else QUEUES, quiet=options["no_progress"])
            except foldspool.SpoolBusy as error:
                raise CommandError(str(error)) from None
            except FAILURES as error:
                done = "" if options["dry_run"] else f"\n{report(run)}\nIt can be run again: nothing is applied twice."
                raise CommandError(f"Stopped: {printable(str(error), keep=chr(10))}{done}") from error

    # -- Folding

    def _fold(self, run: FoldRun, queues: tuple[str, ...], *, quiet: bool) -> None:
        if conf.TRANSPORT == "embedded":
            self._fold_spool(run, quiet)
        else:
            self._replay_held(run, quiet)
            if conf.TRANSPORT == "rabbitmq":
                self._fold_queues(run, queues, quiet)
            else:
                self.stderr.write(f'With TRANSPORT "{conf.TRANSPORT}" nothing is queued.')
        # Where --max cut a message and some of what it let through died, there is room for the rest.
        if run.left and run.totals.held:
            run.replay_held()
        self.stdout.write(report(run))
        if run.stopped():
            self.stdout.write("Stopped as asked; the rest is for the next run.")

    def _fold_spool(self, run: FoldRun, quiet: bool) -> None:
        if not conf.spool_dir.exists():
            self._replay_held(run, quiet)
            return
        current_spool().open()
        with self._watching("bytes", quiet) as watch:
            foldspool.fold_spool(run, conf.spool_dir, watch)

    def _fold_queues(self, run: FoldRun, queues: tuple[str, ...], quiet: bool) -> None:
        if run.over:
            return
        if left := foldqueues.ship(run):
            self.stderr.write(f"{left} bytes of this host's spool are not shipped yet: another process ships it.")
        with self._watching("messages", quiet) as watch:
            missed = foldqueues.fold_queues(run, queues, watch)
        for queue, count in missed.items():
            self.stderr.write(f"{queue}: {count} messages were left to another consumer, a running worker perhaps.")

    def _replay_held(self, run: FoldRun, quiet: bool) -> None:
        with self._watching("events set aside", quiet) as watch:
            run.replay_held(watch(count_held()))

    @contextmanager
    def _watching(self, noun: str, quiet: bool) -> Iterator[Callable[[int], Callable[[int], None] | None]]:
        """A function that makes a progress bar of a total; the bar is closed at the end."""
        bars: list[Progress] = []

        def watch(total: int) -> Progress | None:
            if quiet or not total:
                return None
            bars.append(Progress(self.stderr, total, noun))
            return bars[-1]

        try:
            yield watch
        finally:
            for bar in bars:
                bar.close()

    # -- Only looking

    def _say_what_waits(self, run: FoldRun, queues: tuple[str, ...], *, quiet: bool) -> None:
        waiting = foldspool.waiting_in(conf.spool_dir) if conf.TRANSPORT == "embedded" else None
        if waiting is not None:
            self.stdout.write(f"spool: {waiting.lines} lines, {waiting.size} bytes")
            for name, count in sorted(waiting.events.items()):
                self.stdout.write(f"  {printable(name)}: {count}")
        elif conf.TRANSPORT == "rabbitmq":
            left = foldqueues.unshipped(foldspool.sizes(conf.spool_dir))
            self.stdout.write(f"spool of this host: {left} bytes to be shipped")
            for queue, count in foldqueues.waiting_in(queues).items():
                self.stdout.write(f"{queue}: {count} messages")
        self.stdout.write(f"set aside: {count_held()} events")
        self.stdout.write("Dry run: nothing was applied.")


def report(run: FoldRun) -> str:
    """What came of the run, in events, a line for each sort."""
    lines = [
        f"applied:   {run.totals.applied}",
        f"replayed:  {run.replayed.replayed}, set aside before",
        f"filtered:  {run.totals.filtered}",
        f"duplicate: {run.totals.duplicate}",
        f"dead:      {run.totals.dead + run.replayed.still_dead}",
        f"set aside: {run.totals.held}",
    ]
    if run.replayed.busy:
        lines.append(f"busy elsewhere: {run.replayed.busy}")
    return "\n".join(lines)


@contextmanager
def ending_in_order() -> Iterator[Callable[[], bool]]:
    """Yields what tells whether SIGINT or SIGTERM came. A second one has its usual effect."""
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    # Only the main thread may handle signals; in another one the command is part of a larger program.
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, ask) for number in SIGNALS} if main else {}
    try:
        yield lambda: bool(asked)
    finally:
        restore()
