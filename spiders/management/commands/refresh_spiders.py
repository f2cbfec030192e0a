"""Brings the spiders up to the installed crawler-user-agents package.

The patterns and addresses in the table and in the fixture `spiders` come from crawler-user-agents,
Copyright (c) 2017 Martin Monperrus, under the MIT License; its text stands beside the fixture, in
`LICENSE.crawler-user-agents`.
"""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DEFAULT_DB_ALIAS

from footfall.spiders import refresh


class Command(BaseCommand):
    help = (
        "Brings the Spider table up to the installed crawler-user-agents package. "
        "Spiders made or changed by an operator are left alone, and those switched off stay off."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would change, and change nothing")
        parser.add_argument("--fixture", type=Path, metavar="PATH", help="write this fixture file, not the table")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS, help="the database alias of the table")

    def handle(self, *, dry_run: bool, fixture: Path | None, database: str, **options: Any) -> None:
        rows = self._package_rows()
        if fixture is None:
            changes = refresh.table_changes(rows, database)
        else:
            changes = refresh.fixture_changes(rows, fixture)
        self._report(changes, verbose=options["verbosity"] > 1)
        if dry_run:
            self.stdout.write("Dry run: nothing was written.")
        elif fixture is None:
            refresh.change_table(changes, database)
        else:
            refresh.write_fixture(rows, fixture)

    def _package_rows(self) -> list[refresh.Row]:
        try:
            rows, refused = refresh.package_rows()
        except ImportError as error:
            raise CommandError(
                "refresh_spiders needs the crawler-user-agents package: pip install 'footfall[spiders]'"
            ) from error
        if not rows:
            raise CommandError("The crawler-user-agents package holds no pattern that can be used.")
        for pattern in refused:
            self.stderr.write(f"The package's pattern {pattern!r} can't be used, it is left out.")
        return rows

    def _report(self, changes: refresh.Changes, *, verbose: bool) -> None:
        for what in ("added", "changed", "removed"):
            rows: list[refresh.Row] = getattr(changes, what)
            self.stdout.write(f"{what}: {len(rows)}")
            if verbose:
                self.stdout.writelines(f"  {row.pattern}" for row in rows)
