"""Copies counts of an older table into a dataset."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.exceptions import FieldError
from django.core.management.base import BaseCommand, CommandError
from django.db import Error, models

from footfall.storage.conversion import ConversionError, Converted, Plan, convert
from footfall.storage.datasets import TrackableData
from footfall.storage.modelnames import dataset_named, model_named
from footfall.storage.parents import Link, MatchLink, link_by_path, relations
from footfall.storage.printable import printable
from footfall.storage.progress import Progress
from footfall.storage.suggestions import near

EPILOG = """
Numbers are copied, not added: a second run changes nothing, and where rows of the source have the same key, the last
one in order stands. Everything happens in one transaction; a row that can't be copied ends it and is named. Slots of
time have to be those that events would get: a date in the middle of a week is refused for a dataset that counts by
weeks. Stop the workers meanwhile: what they count into the same rows waits for the end, or is overwritten.

examples:
  convert_tracking_data old.PageHits news.ArticleDaily --link-field=page \\
      --key-fields=day:collected_during --update-fields=hits:views
      a row per page and day, which knows its page

  convert_tracking_data old.Trackable news.ArticleTotals --update-fields=views,clicks
      rows that have a generic "parent", and fields of the same names

  convert_tracking_data old.UrlHits news.ArticleDaily --match-spec=url.slug:news.Article:slug \\
      --key-fields=day:collected_during --update-fields=hits:views --dry-run
      the article that has the slug which stands in the row's url
"""


class Command(BaseCommand):
    help = "Copies counts from the rows of any model into a dataset."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.epilog = EPILOG
        # Django's own formatter would run the lines of the examples together.
        parser.formatter_class = RawDescriptionHelpFormatter
        parser.add_argument("source", metavar="app.SourceModel", help="the model to read")
        parser.add_argument("dataset", metavar="app.DestDataset", help="the registered dataset to write")
        parser.add_argument(
            "--update-fields", required=True, metavar="SRC:DEST,…", help="the numbers to copy; one name if both have it"
        )
        parser.add_argument(
            "--key-fields", default="", metavar="SRC:DEST,…", help="the rest of the key, e.g. day:collected_during"
        )
        parser.add_argument(
            "--link-field", metavar="ATTR[.ATTR…]", help="the way from a source row to its object (default: parent)"
        )
        parser.add_argument(
            "--match-spec",
            metavar="ATTR[.ATTR…]:app.Model[:FIELD]",
            help="instead: the object of app.Model whose FIELD (default: the primary key) has the value at ATTR",
        )
        parser.add_argument("--max-records", type=int, metavar="N", help="read at most N rows")
        parser.add_argument("--order-by", metavar="F1,F2,…", help="the order of reading, e.g. -hits (default: the key)")
        parser.add_argument("--dry-run", action="store_true", help="do all of it, say what came of it, and roll back")
        parser.add_argument("--no-progress", action="store_true", help="show no progress on stderr")

    def handle(self, **options: Any) -> None:
        plan = plan_of(options)
        progress = None
        try:
            if not options["no_progress"]:
                progress = Progress(self.stderr, plan.rows().count(), "rows")
            done = convert(plan, dry_run=options["dry_run"], progress=progress)
        except ConversionError as error:
            raise CommandError(f"{printable(str(error))}\nNothing was kept.") from error
        except Error as error:
            raise CommandError(f"Stopped: {printable(str(error))}\nNothing was kept; it can be run again.") from error
        finally:
            if progress is not None:
                progress.close()
        self._report(done, options["dry_run"])

    def _report(self, done: Converted, dry_run: bool) -> None:
        self.stdout.write(f"Migrated {done.migrated} objects")
        if done.skipped:
            self.stdout.write(f"Skipped {done.skipped} rows whose object is not there")
        if dry_run:
            self.stdout.write("Dry run: all of it was rolled back.")


def plan_of(options: dict[str, Any]) -> Plan:
    """What the arguments ask for, checked against both models. Raises CommandError."""
    source, dataset = model_named(options["source"]), dataset_named(options["dataset"])
    if source is dataset:
        raise CommandError("Source and destination are the same.")
    limit = options["max_records"]
    if limit is not None and limit < 1:
        raise CommandError(f"--max-records {limit}: at least 1.")
    order = [name.strip() for name in (options["order_by"] or "").split(",") if name.strip()]
    counters = _mapping(source, options["update_fields"], dataset.get_trackable_fields(), "--update-fields")
    if not counters:
        raise CommandError("--update-fields names nothing to copy.")
    key = _key_of(source, dataset, options["key_fields"])
    plan = Plan(source, dataset, _link_of(source, options), counters, key, order, limit)
    try:
        plan.rows()
    except FieldError as error:
        raise CommandError(f"--order-by {options['order_by']}: {error}") from None
    return plan


def _key_of(source: type[models.Model], dataset: type[TrackableData], text: str) -> dict[str, str]:
    wanted = dataset.key_fields[2:]
    key = _mapping(source, text, wanted, "--key-fields")
    if missing := [name for name in wanted if name not in key]:
        raise CommandError(f"--key-fields: {dataset._meta.label} needs {', '.join(missing)}, e.g. day:{missing[0]}.")
    return key


def _mapping(source: type[models.Model], text: str, known: tuple[str, ...], option: str) -> dict[str, str]:
    """``src:dest,…`` as a path for each field of the dataset."""
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        path, _, name = (part.strip() for part in pair.partition(":"))
        name = name if ":" in pair else path
        if name not in known:
            having = ", ".join(known) or "none"
            raise CommandError(f"{option} {pair}: {name!r} is not one of {having}.{near(name, known)}")
        if name in found:
            raise CommandError(f"{option}: {name!r} is named twice.")
        _check_path(source, path, f"{option} {pair}")
        found[name] = path
    return found


def _link_of(source: type[models.Model], options: dict[str, Any]) -> Link:
    if options["match_spec"] is None:
        path = options["link_field"] or "parent"
        _check_path(source, path, f"--link-field {path}")
        try:
            return link_by_path(source, path)
        except ValueError as error:
            raise CommandError(f"--link-field {path}: {error}") from None
    if options["link_field"] is not None:
        raise CommandError("Give --link-field or --match-spec, not both.")
    return _match_of(source, options["match_spec"])


def _match_of(source: type[models.Model], spec: str) -> Link:
    path, *rest = spec.split(":")
    if not path or len(rest) not in (1, 2) or not all(rest):
        raise CommandError(f"--match-spec {spec}: not of the form ATTR[.ATTR…]:app.Model[:FIELD].")
    _check_path(source, path, f"--match-spec {spec}")
    try:
        return MatchLink(source, path, model_named(rest[0]), *rest[1:])
    except ValueError as error:
        raise CommandError(f"--match-spec {spec}: {error}") from None


def _check_path(source: type[models.Model], path: str, where: str) -> None:
    """As far as the models say where a path leads; what lies behind is seen when rows are read."""
    if not all(path.split(".")):
        raise CommandError(f"{where}: {path!r} is not of the form ATTR[.ATTR…].")
    _, reached, rest = relations(source, path)
    first = rest.split(".")[0]
    if reached is not None and rest and not hasattr(reached, first):
        known = [field.name for field in reached._meta.get_fields()]
        raise CommandError(f"{where}: {reached._meta.label} has no field {first!r}.{near(first, known)}")
