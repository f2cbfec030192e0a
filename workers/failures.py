"""Whose fault is a failure, and is it worth trying again? The answer decides between waiting and a dead letter."""

from enum import Enum

from django.db import DataError, Error, IntegrityError, InterfaceError, OperationalError, ProgrammingError


class Transient(Exception):
    """The database can't answer now, or not yet: everything is rolled back, try the same batch again later."""


class Fault(Exception):
    """Most of a large batch fails in one and the same way: the code is wrong, not the data. Nothing is written."""


class Blame(Enum):
    """What an exception says about the batch in which it came up."""

    TRANSIENT = "transient"
    DATA = "data"
    INTERNAL = "internal"


# PostgreSQL's error classes (appendix A of its manual): the server, the connection, locks and deploys, not the data.
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58", "25")
_TRANSIENT_CODES = (
    "42P01",
    "42703",
    "3F000",
    "3D000",
    "28000",
    "28P01",
    "42501",
)  # not there yet, not allowed yet
_DATA_CLASSES = ("22", "23", "54", "21", "44")

# A statement that ran too long or was cancelled, and a transaction that stood idle for too long.
_TIMED_OUT = ("57014", "25P03")


def blame(error: BaseException) -> Blame:
    """Classify an exception that came out of Django's database layer, or out of our own code."""
    state = getattr(error.__cause__, "sqlstate", None)
    if state == "25P02":  # a site's code swallowed an error: the transaction is no more, the server is well
        return Blame.INTERNAL
    if state is not None:
        if state.startswith(_DATA_CLASSES):
            return Blame.DATA
        if state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_CODES:
            return Blame.TRANSIENT
    if isinstance(error, (DataError, IntegrityError, OverflowError)):
        return Blame.DATA
    if isinstance(error, (OperationalError, InterfaceError)):
        return Blame.TRANSIENT
    if isinstance(error, ProgrammingError):
        return Blame.INTERNAL
    return Blame.DATA if isinstance(error, Error) else Blame.INTERNAL


def not_migrated(error: BaseException | None) -> bool:
    """Whether ``error`` came of a table or column that is missing. Looks at its causes too."""
    while error is not None:
        missing = getattr(error, "sqlstate", None) in ("42P01", "42703")
        if missing or str(error).startswith(("no such table", "no such column")) or "has no column named" in str(error):
            return True
        error = error.__cause__
    return False


def timed_out(error: BaseException | None) -> bool:
    """Whether ``error`` came of work that took longer than PostgreSQL was told to allow. Looks at its causes too."""
    while error is not None:
        if getattr(error, "sqlstate", None) in _TIMED_OUT:
            return True
        error = error.__cause__
    return False
