"""System checks of the spiders app."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import connections, router

from footfall.spiders.models import Spider


def check_table_is_filled(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:
    """Warn (footfall.spiders.W001) where the spider table is missing or empty, so that every visit counts.

    Looks only into the databases named, as `check --database` and `migrate` name them; without any, no query.
    """
    return [_warning(alias) for alias in databases or () if _belongs_to(alias) and not _has_spiders(alias)]


def _belongs_to(alias: str) -> bool:
    return router.allow_migrate_model(alias, Spider)


def _has_spiders(alias: str) -> bool:
    if Spider._meta.db_table not in connections[alias].introspection.table_names():
        return False
    return Spider.objects.using(alias).exists()


def _warning(alias: str) -> checks.CheckMessage:
    return checks.Warning(
        f"There are no spiders in the database {alias!r}: visits of crawlers are counted like people's.",
        hint="Run `manage.py migrate`, then `manage.py loaddata spiders` or `manage.py refresh_spiders`.",
        obj=Spider,
        id="footfall.spiders.W001",
    )
