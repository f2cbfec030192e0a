"""What becomes of every event, as a value: the pipeline decides it in steps, and one place acts on it."""

import hashlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from footfall.producers.messages import Event
from footfall.producers.reasons import Reason

#: The position of a letter that is a whole delivery instead of one event of a message.
WHOLE = -1

UNKNOWN_KIND = "unknown"


class Fate(StrEnum):
    """The four ends of an event; the values are names of tallies."""

    APPLIED = "applied"
    FILTERED = "filtered"
    DUPLICATE = "duplicate"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a parcel, and why."""

    fate: Fate
    reason: Reason | None = None
    error: str = ""
    stage: str = ""
    spider: str = ""


APPLIED = Outcome(Fate.APPLIED)
DUPLICATE = Outcome(Fate.DUPLICATE)


def dead(reason: Reason, error: str, stage: str) -> Outcome:
    """The outcome of what can't be applied; ``error`` tells a person what was wrong."""
    clean = error.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    return Outcome(Fate.DEAD, reason, clean[:2000], stage)


HELD = Outcome(
    Fate.DEAD,
    Reason.HELD,
    "Nothing is wrong with it: fold_messages was asked for other events. The next one that wants it applies it.",
    "fold",
)


def filtered(reason: Reason, spider: str = "") -> Outcome:
    """The outcome of what is left out on purpose."""
    return Outcome(Fate.FILTERED, reason, spider=spider)


@dataclass(slots=True, eq=False)
class Parcel:
    """One event on its way through the pipeline, or a whole delivery that could not be opened."""

    message_id: uuid.UUID
    position: int
    raw: bytes
    queue: str
    kind: str = UNKNOWN_KIND
    event: Event | None = None
    outcome: Outcome | None = None


@dataclass(slots=True, eq=False)
class Message:
    """An opened delivery: its ledger id and its parcels. ``kind`` is what the delivery is counted under."""

    id: uuid.UUID
    kind: str
    parcels: list[Parcel] = field(default_factory=list)


def digest_id(body: bytes) -> uuid.UUID:
    """The ledger id of a delivery that has no valid one: the first half of the SHA-256 of its bytes."""
    return uuid.UUID(bytes=hashlib.sha256(body).digest()[:16])


def undecided(parcels: Iterable[Parcel]) -> list[Parcel]:
    """The parcels whose outcome is still open."""
    return [parcel for parcel in parcels if parcel.outcome is None]
