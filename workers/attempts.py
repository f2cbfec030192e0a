"""Who started what and has not finished: the memory of suspects, work that may take its worker down with it.

A row is committed before each start and goes when the work is settled. One that another owner left behind was started
by a worker that never finished. An outage is no kill: the same process may start again, and nothing more is counted.
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from uuid import uuid4

from django.db import router, transaction
from django.db.models import F
from django.utils import timezone

from footfall.storage.models import Attempt

#: The owner of a row whose work nobody is at.
NOBODY = ""


def me() -> str:
    """The name of this very process: a process id alone would come again after a restart, or in a container."""
    return _name(os.getpid())


@lru_cache(maxsize=1)
def _name(pid: int) -> str:
    return f"{socket.gethostname()[:32]}:{pid}:{uuid4().hex[:16]}"


def begin(key: str) -> int:
    """Write down that this process starts ``key`` now, committed; return how many starts of it never finished."""
    using = router.db_for_write(Attempt)
    with transaction.atomic(using=using):
        kills = kills_of(Attempt.objects.using(using).filter(key=key).first())
        values = {"owner": me(), "count": kills + 1, "started_at": timezone.now()}
        Attempt.objects.using(using).update_or_create(key=key, defaults=values)
    return kills


def kills_of(attempt: Attempt | None) -> int:
    """How many workers ``attempt`` says were lost: a start of this process's own is not among them."""
    if attempt is None:
        return 0
    return attempt.count - (attempt.owner == me())


def forget(key: str) -> None:
    """Remove the row: the work is settled. In the caller's transaction, where there is one."""
    Attempt.objects.using(router.db_for_write(Attempt)).filter(key=key).delete()


def take_back(key: str) -> None:
    """This process lets go of ``key`` unharmed: its start does not count."""
    mine = Attempt.objects.using(router.db_for_write(Attempt)).filter(key=key, owner=me())
    mine.filter(count__lte=1).delete()
    mine.update(owner=NOBODY, count=F("count") - 1)


def own_up(key: str) -> None:
    """The start of ``key`` by this process counts as one that never finished."""
    mine = Attempt.objects.using(router.db_for_write(Attempt)).filter(key=key, owner=me())
    mine.update(owner=NOBODY)
