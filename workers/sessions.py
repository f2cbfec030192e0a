"""Database sessions of worker processes: bounded in time, and checked before work is taken from a queue.

A worker that is stopped in the middle of a transaction holds its row locks. PostgreSQL is told to end such a session
by itself, and to give up a wait or a statement that takes too long: the batch is rolled back and tried again. A
web process has none of it, but in the transactions of the immediate transport.
"""

from datetime import UTC, datetime
from uuid import uuid4

from django.apps import apps
from django.db import connections, router, transaction
from django.db.utils import Error
from dramatiq.errors import ConnectionClosed

#: PostgreSQL's settings in a transaction that applies a batch, in milliseconds.
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


def bound(alias: str) -> None:
    """Bound the transaction that the caller has open on ``alias`` in time: on PostgreSQL, elsewhere nothing is done.

    The settings end with the transaction. The site's own actors, which may run in the same thread, never have them,
    nor does another client of a pooler that lends its sessions for one transaction. Raises the database's errors.
    """
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return
    columns = ", ".join(["set_config(%s, %s, true)"] * len(TIMEOUTS))
    arguments = [part for name, value in TIMEOUTS.items() for part in (name, str(value))]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns}", arguments)


def aliases() -> list[str]:
    """The databases that hold our tables or a dataset of the site's, sorted."""
    from footfall.storage.datasets import TrackableData  # models can't be imported when brokers are

    ours = [*apps.get_app_config("footfall_storage").get_models()]
    datasets = [model for model in apps.get_models() if issubclass(model, TrackableData)]
    return sorted({router.db_for_write(model) for model in ours + datasets})


def probe() -> None:
    """Ask each of our databases whether it takes what a batch writes. Raises ConnectionClosed where not."""
    for alias in aliases():
        _probe(alias)


def _probe(alias: str) -> None:
    connection = connections[alias]
    try:
        with transaction.atomic(using=alias):
            bound(alias)
            _try_out(alias)
            transaction.set_rollback(True, using=alias)
    except Error as error:
        raise ConnectionClosed(
            f"The database {alias!r} does not answer, or takes no writes; nothing is consumed: {error}"
        ) from None
    finally:
        # The consumer's thread has no further use for it, and nobody would look after it there.
        if not connection.in_atomic_block:
            connection.close()


def _try_out(alias: str) -> None:
    """Write, for a standby or a database with a privilege missing still reads. In the caller's transaction."""
    from footfall.storage.models import AppliedMessage  # models can't be imported when brokers are
    from footfall.workers import ledger

    if router.allow_migrate_model(alias, AppliedMessage):
        ledger.enter([uuid4()], datetime.now(UTC), alias)
    else:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")


def drop_broken() -> None:
    """Close this thread's connections that are old or don't work, so that the next query opens new ones."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
