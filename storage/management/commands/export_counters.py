"""Writes the counters of a model's objects as CSV or JSON."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from footfall.storage.datasets import TrackableData, site
from footfall.storage.export import Export, slot_field
from footfall.storage.modelnames import dataset_named, model_named
from footfall.storage.printable import printable
from footfall.storage.progress import Progress
from footfall.storage.spreadsheet import safe_cell
from footfall.storage.suggestions import near

EPILOG = """
One row for each object of the model: its id, its name (what str() says), and for each dataset and field the sum and
the average over all its rows (slots, or what else is in the dataset's key), in columns named dataset__field__sum and
dataset__field__avg. An object without counts has 0. In CSV, text that a spreadsheet could take for a formula has an
apostrophe ahead.

examples:
  export_counters news.Article > counters.csv
  export_counters news.Article news.ArticleDaily --fields views --since 2026-05-01 --until 2026-05-31
  export_counters news.Article --format json --output /srv/reports/counters.json
"""

Write = Callable[[str], object]

#: How files are written: no name ends it, and the csv module ends its lines itself.
TEXT: Any = {"encoding": "utf-8", "errors": "backslashreplace", "newline": ""}


class Command(BaseCommand):
    help = "Exports sums and averages of counters, a row for each object of a model, as CSV or JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("model", metavar="app.Model", help="the model whose objects are counted")
        parser.add_argument(
            "datasets",
            nargs="*",
            default=[],
            metavar="app.Dataset",
            help="datasets to export (default: all that count the model)",
        )
        parser.add_argument("--fields", metavar="F1,F2,…", help="only these fields (default: all of each dataset)")
        parser.add_argument("--format", choices=["csv", "json"], default="csv", help="default: csv")
        parser.add_argument("--output", metavar="FILE", help="write to FILE, which appears when it is complete")
        parser.add_argument(
            "--since", type=_day, metavar="DAY", help="only slots that begin on DAY or later (ISO date)"
        )
        parser.add_argument("--until", type=_day, metavar="DAY", help="only slots that begin on DAY or before")
        parser.add_argument("--dry-run", action="store_true", help="say how much would be written, and write nothing")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        export = export_of(options)
        try:
            total = export.count()
            if options["dry_run"]:
                self.stdout.write(f"{total} rows with {len(export.columns())} columns would be written.")
                return
            self._export(export, total, options)
        except Error as error:
            raise CommandError(f"Stopped: {printable(str(error))}") from error
        except OSError as error:
            raise CommandError(f"{options['output'] or 'Output'}: {error.strerror or error}.") from error
        for dataset, count in export.gone.items():
            if count:
                self.stderr.write(f"{dataset._meta.label}: {count} objects that are gone were left out.")

    def _export(self, export: Export, total: int, options: dict[str, Any]) -> None:
        progress = None if options["no_progress"] else Progress(self.stderr, total, "objects")
        write_all = write_csv if options["format"] == "csv" else write_json
        try:
            with self._opened(options["output"]) as write:
                write_all(write, export.columns(), export.lines(progress))
        finally:
            if progress is not None:
                progress.close()

    @contextmanager
    def _opened(self, output: str | None) -> Iterator[Write]:
        if output is None:
            # Names are strangers' words: on a terminal none of their characters acts.
            shown = self.stdout.isatty()
            yield lambda text: self.stdout.write(printable(text, keep="\r\n") if shown else text, ending="")
        else:
            with replacing(Path(output)) as write:
                yield write


@contextmanager
def replacing(path: Path) -> Iterator[Write]:
    """What is written takes the place of ``path`` in one step at the end; after an exception ``path`` is as it was.

    A symbolic link stays, and its file is replaced. A pipe or a device is written to as it is.
    """
    if path.exists() and not path.is_file():
        with open(path, "w", **TEXT) as there:
            yield there.write
        return
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", **TEXT) as file:
            yield file.write
            file.flush()
            os.fchmod(descriptor, _mode_of(path))
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _mode_of(path: Path) -> int:
    """The permissions of the file that is replaced; a new one's are its owner's alone, for names may be private."""
    try:
        return path.stat().st_mode & 0o777
    except FileNotFoundError:
        return 0o600


def write_csv(write: Write, columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """A header and a line for each row, every cell safe to open in a spreadsheet."""
    writer = csv.writer(_Sink(write))
    writer.writerow(columns)
    writer.writerows([safe_cell(value) for value in line] for line in lines)


class _Sink:
    """What `csv.writer` asks of a file."""

    def __init__(self, write: Write) -> None:
        self.write = write


def write_json(write: Write, columns: Sequence[str], lines: Iterable[Sequence[Any]]) -> None:
    """An array of objects, one on each line. ASCII only."""
    separator = "["
    for line in lines:
        row = json.dumps(dict(zip(columns, line, strict=True)), default=str).replace("\x7f", "\\u007f")
        write(f"{separator}\n{row}")
        separator = ","
    write("[]\n" if separator == "[" else "\n]\n")


def export_of(options: dict[str, Any]) -> Export:
    """What the arguments ask for. Raises CommandError."""
    model = model_named(options["model"])
    counting = site.datasets_of(model)
    if not counting:
        raise CommandError(f"No dataset counts {model._meta.label}.")
    chosen = tuple(dict.fromkeys(dataset_named(label) for label in options["datasets"])) or counting
    for dataset in chosen:
        if dataset not in counting:
            known = ", ".join(one._meta.label for one in counting)
            raise CommandError(f"{dataset._meta.label} does not count {model._meta.label}: {known} does.")
    since, until = options["since"], options["until"]
    if since is not None and until is not None and since > until:
        raise CommandError(f"--since {since} is after --until {until}.")
    if timeless := [dataset._meta.label for dataset in chosen if (since or until) and slot_field(dataset) is None]:
        raise CommandError(
            f"{', '.join(timeless)} has no slots of time: name other datasets beside --since or --until."
        )
    return Export(model, _fields_of(chosen, options["fields"]), since, until)


def _fields_of(datasets: Sequence[type[TrackableData]], text: str | None) -> dict[type[TrackableData], tuple[str, ...]]:
    if text is None:
        return {dataset: dataset.get_trackable_fields() for dataset in datasets}
    wanted = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = {name for dataset in datasets for name in dataset.get_trackable_fields()}
    if unknown := [name for name in wanted if name not in known]:
        raise CommandError(f"--fields: no dataset has {', '.join(unknown)}.{near(unknown[0], sorted(known))}")
    if not wanted:
        raise CommandError("--fields names none.")
    chosen = {dataset: tuple(name for name in wanted if name in dataset.get_trackable_fields()) for dataset in datasets}
    return {dataset: fields for dataset, fields in chosen.items() if fields}


def _day(text: str) -> date:
    """A day on the command line. Raises ValueError."""
    return date.fromisoformat(text)


_day.__name__ = "ISO date"  # argparse names it in its error
