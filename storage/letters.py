"""What a person does with a dead letter: mend its bytes beside the original, or discard it. Open letters only."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import models, router, transaction

from footfall.storage.clock import stored
from footfall.storage.models import KEY_LENGTH, DeadLetter

logger = logging.getLogger("footfall.letters")

CHUNK = 500


class LetterSettledError(Exception):
    """The letter is not open, or not any more: it was replayed or discarded, perhaps by somebody else just now."""


def discard(letters: models.QuerySet[DeadLetter], by: str, now: datetime) -> int:
    """Discard the open ones among ``letters``, all or none, and return how many that were; the rows and bytes stay.

    ``by`` goes into the log. Waits for a replay that has one of them in hand: what that settles is left alone.
    """
    wanted = letters.filter(state=DeadLetter.State.OPEN).order_by("pk").select_for_update()
    with transaction.atomic(using=wanted.db):
        ids = list(wanted.values_list("pk", flat=True))
        for start in range(0, len(ids), CHUNK):
            rows = DeadLetter.objects.using(wanted.db).filter(pk__in=ids[start : start + CHUNK])
            rows.update(state=DeadLetter.State.DISCARDED, settled_at=stored(now))
    if ids:
        logger.info("%d dead letters discarded by %r.", len(ids), by)
    return len(ids)


def mend(letter: DeadLetter, body: bytes | None, by: str, now: datetime) -> None:
    """Keep ``body`` beside the original, with who and when; a replay takes it. None takes the mended bytes away again.

    Changes ``letter`` and its row, which is locked meanwhile. Raises LetterSettledError for one that is not open.
    """
    using = letter._state.db or router.db_for_write(DeadLetter)
    changes = {
        "edited_body": body,
        "edited_by": "" if body is None else by[:KEY_LENGTH],
        "edited_at": None if body is None else stored(now),
    }
    # One statement: it waits for a replay of this letter and then looks at the state again.
    rows = DeadLetter.objects.using(using).filter(pk=letter.pk, state=DeadLetter.State.OPEN)
    if not rows.update(**changes):
        raise LetterSettledError(f"Dead letter {letter.pk} is not open.")
    for name, value in changes.items():
        setattr(letter, name, value)
