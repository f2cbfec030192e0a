"""Database sessions of worker processes: bounded in time, and checked before work is taken from a queue.

A worker that is stopped in the middle of a transaction holds its row locks. PostgreSQL is told to end such a session
by itself, and to give up a wait or a statement that takes too long: the batch is rolled back and tried again. Nothing
here touches a web process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.db import connections, router
from django.db.utils import Error
from dramatiq.errors import ConnectionClosed

#: PostgreSQL's settings while a batch is applied, in milliseconds.
TIMEOUTS = {
    # Others hold a row for the length of a batch, well under a second: longer is a stopped worker or a deploy.
    "lock_timeout": 10_000,
    # A batch's largest statement takes some tens of milliseconds.
    "statement_timeout": 30_000,
    # Between two statements lies folding, and a site's action handlers, which may be slow.
    "idle_in_transaction_session_timeout": 60_000,
}

#: libpq's own limits (the last one in milliseconds, the others in seconds): a server that vanished without a word is
#: noticed in some 20 seconds, not in minutes or hours.
KEEPALIVES = {
    "connect_timeout": 10,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 20_000,
}


def keep_connections_alive() -> None:
    """Give PostgreSQL connections that this process opens from now on TCP keepalives, where the site has set none."""
    for settings in connections.settings.values():
        if settings["ENGINE"].endswith((".postgresql", ".postgis")):
            settings["OPTIONS"] = KEEPALIVES | settings.get("OPTIONS", {})


@contextmanager
def bounded() -> Iterator[None]:
    """Bound the sessions of our databases in time while a batch is applied, and restore what was set before.

    Not for the whole life of a connection: the site's own actors may run in the same thread, and take their time.
    Touches the database; raises its errors.
    """
    before = {alias: _exchange(alias, TIMEOUTS) for alias in aliases() if _is_postgresql(alias)}
    try:
        yield
    finally:
        for alias, values in before.items():
            _restore(alias, values)


def _is_postgresql(alias: str) -> bool:
    return connections[alias].vendor == "postgresql"


def _exchange(alias: str, values: dict[str, Any]) -> dict[str, Any]:
    columns = ", ".join(["current_setting(%s)", "set_config(%s, %s, false)"] * len(values))
    arguments = [part for name, value in values.items() for part in (name, name, str(value))]
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {columns}", arguments)
        return dict(zip(values, cursor.fetchone()[::2], strict=True))


def _restore(alias: str, values: dict[str, Any]) -> None:
    connection = connections[alias]
    if connection.connection is None:
        return
    try:
        _exchange(alias, values)
    except Error:
        # Broken, or in a broken transaction: a new connection starts with the server's settings.
        connection.close()


def aliases() -> list[str]:
    """The databases that hold our tables or a dataset of the site's, sorted."""
    from footfall.storage.datasets import TrackableData  # models can't be imported when brokers are

    ours = [*apps.get_app_config("footfall_storage").get_models()]
    datasets = [model for model in apps.get_models() if issubclass(model, TrackableData)]
    return sorted({router.db_for_write(model) for model in ours + datasets})


def probe() -> None:
    """Ask each of our databases whether it answers and has our tables. Raises ConnectionClosed where not."""
    for alias in aliases():
        _probe(alias)


def _probe(alias: str) -> None:
    from footfall.storage.models import AppliedMessage  # models can't be imported when brokers are

    connection = connections[alias]
    try:
        if _is_postgresql(alias):
            _exchange(alias, TIMEOUTS)
        AppliedMessage.objects.using(alias).exists()
    except Error as error:
        raise ConnectionClosed(f"The database {alias!r} does not answer, nothing is consumed: {error}") from None
    finally:
        # The consumer's thread has no further use for it, and nobody would look after it there.
        if not connection.in_atomic_block:
            connection.close()


def drop_broken() -> None:
    """Close this thread's connections that are old or don't work, so that the next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
