"""For rows that came from another database: they get stamps of this one, so that who polls for changes misses none."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS, Error, connections, models, router, transaction

from footfall.storage.changestamps import ChangeStamp, recording
from footfall.storage.marks import label_of
from footfall.storage.modelnames import model_named
from footfall.storage.models import DeletedItem
from footfall.storage.printable import printable
from footfall.storage.progress import Progress
from footfall.storage.references import HandleRefModel

EPILOG = """
Each row says by which transaction of the database it was last changed. In rows that were restored from a dump, or
copied, that is a transaction of another database, and a poll with a cursor could take them for old, or for not
committed yet. Run this once after that. Everybody is told of all these rows again; their times and versions stay as
they are. It is done in batches, each in a transaction of its own: a run that was stopped can be run again.

examples:
  restamp_changes --dry-run                   how many rows there are
  restamp_changes                             all models that keep account of changes
  restamp_changes news.Story --database copy  one of them, in another database
"""

#: Rows of one batch.
ROWS = 500


class Command(BaseCommand):
    help = "Gives rows that came from another database stamps of this one, so that polls with a cursor miss none."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument(
            "models", nargs="*", default=[], metavar="app.Model", help="only these (default: all that keep account)"
        )
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, metavar="ALIAS", help="default: default")
        parser.add_argument("--dry-run", action="store_true", help="only count the rows")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        using = options["database"]
        if using not in connections:
            raise CommandError(f"There is no database {using!r} among {', '.join(sorted(connections))}.")
        tables = list(_tables(_models(options["models"], using), using))
        try:
            total = sum(rows.count() for rows in tables)
            if options["dry_run"]:
                self.stdout.write(f"{total} rows would be stamped.")
                return
            progress = None if options["no_progress"] else Progress(self.stderr, total, "rows")
            self.stdout.write(f"stamped: {_restamp(tables, using, progress)}")
        except Error as error:
            raise CommandError(f"Stopped: {printable(str(error))}\nIt can be run again.") from error


def _models(labels: list[str], using: str) -> list[type[models.Model]]:
    """Those that are named, else all that are kept on ``using``; no proxies. Raises CommandError."""
    if not labels:
        counted = [model for model in apps.get_models() if issubclass(model, HandleRefModel)]
        return [model for model in counted if not model._meta.proxy and router.allow_migrate_model(using, model)]
    named = [model_named(label) for label in labels]
    for model in named:
        if not issubclass(model, HandleRefModel):
            raise CommandError(f"{model._meta.label} keeps no account of changes: it is no HandleRefModel.")
    return list(dict.fromkeys(model._meta.concrete_model or model for model in named))


def _tables(chosen: list[type[models.Model]], using: str) -> Iterator[models.QuerySet[Any]]:
    """The rows of each, and what is left of deleted ones where that is kept on ``using``."""
    for model in chosen:
        inherits = [base for base in chosen if base is not model and issubclass(model, base)]
        if not inherits:  # else the rows have their stamps in the other's table
            yield models.QuerySet(model, using=using)  # whose update writes just what it is told to
    if router.db_for_write(DeletedItem) == using:
        yield DeletedItem.objects.using(using).filter(object_type__in=map(label_of, chosen))


def _restamp(tables: list[models.QuerySet[Any]], using: str, progress: Progress | None) -> int:
    done = 0
    try:
        for rows in tables:
            for keys in _batches(rows):
                with transaction.atomic(using=using), recording(using):
                    done += rows.filter(pk__in=keys).update(change_stamp=ChangeStamp())
                if progress is not None:
                    progress(done)
    finally:
        if progress is not None:
            progress.close()
    return done


def _batches(rows: models.QuerySet[Any]) -> Iterator[list[Any]]:
    """The rows' keys, by the primary key: rows that come or go meanwhile shift nothing."""
    ordered = rows.order_by("pk").values_list("pk", flat=True)
    keys = list(ordered[:ROWS])
    while keys:
        yield keys
        keys = list(ordered.filter(pk__gt=keys[-1])[:ROWS])
