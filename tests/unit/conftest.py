"""A second database beside the first, for the tests of what is routed there."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, connections

from footfall.spiders.matcher import forget_spiders


class ArchiveRouter:
    """The models named (in lower case) are kept on another database."""

    def __init__(self, archived: set[str]) -> None:
        self._archived = archived

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return "archive" if model._meta.model_name in self._archived else None

    db_for_read = db_for_write


@pytest.fixture
def archive(
    request: pytest.FixtureRequest, django_db_setup: None, django_db_blocker: Any, settings: Any, tmp_path: Path
) -> Iterator[str]:
    """A copy of the empty first database, for the models that the test's module names in ARCHIVED; gone afterwards."""
    with django_db_blocker.unblock():
        connection.ensure_connection()
        with closing(sqlite3.connect(tmp_path / "archive.sqlite3")) as copy:
            connection.connection.backup(copy)
        connections.settings["archive"] = {**connections.settings["default"], "NAME": str(tmp_path / "archive.sqlite3")}
        settings.DATABASE_ROUTERS = [ArchiveRouter(request.module.ARCHIVED)]
        forget_spiders()
        yield "archive"
        connections["archive"].close()
        del connections["archive"]
        del connections.settings["archive"]
        settings.DATABASE_ROUTERS = []
        call_command("flush", verbosity=0, interactive=False)
        connection.close()
