"""Gathers the objects of a deletion, and says when they are to be seen to.

Django tells of each object that it is about to delete before the first row goes, and again of each when its row is
gone. They are gathered the first time, and all taken together at the first time of the second kind: a few statements
for a deletion of thousands. They are gathered among the transaction's commit hooks, which Django itself drops with
whatever is rolled back: what was not deleted after all is never taken for deleted later. That they were taken under a
savepoint which they lie outside of stands there, too: rolled back to it, they are taken once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import connections, models, router, transaction

from footfall.producers.messages import Ref
from footfall.storage.tombstones import Left

#: Set on a connection while objects may be gathered on it, so that its hooks are searched once a deletion.
GATHERED = "_footfall_doomed"


@dataclass(frozen=True, eq=False)
class Doomed:
    """An object that is about to be deleted; ``left`` is what is to be kept of it, ``purged`` that nothing is.

    As a commit hook it does nothing: it is only kept there.
    """

    ref: Ref
    left: Left | None = None
    purged: bool = False

    def __post_init__(self) -> None:
        assert self.ref.id  # a blank one stands for a whole model

    def __call__(self) -> None:
        pass


@dataclass(frozen=True, eq=False)
class Taken:
    """That ``those`` were taken; a commit hook as `Doomed`."""

    those: list[Doomed]

    def __call__(self) -> None:
        pass


def gather(doomed: Doomed, using: str) -> None:
    """Keep ``doomed`` until it is taken, or the deletion is rolled back. In a transaction. No query."""
    setattr(connections[using], GATHERED, True)
    transaction.on_commit(doomed, using=using)


def take_gathered(using: str) -> list[Doomed]:
    """What was gathered since this was asked last. No query.

    When the deletion that is the outermost has asked, nothing of it is left among the commit hooks.
    """
    connection = connections[using]
    if not getattr(connection, GATHERED, False):
        return []
    hooks = connection.run_on_commit
    before = {one for _, hook, *_ in hooks if isinstance(hook, Taken) for one in hook.those}
    taken = [hook for _, hook, *_ in hooks if isinstance(hook, Doomed) and hook not in before]
    savepoints = set(connection.savepoint_ids)
    # A hook goes only where a rollback that would take this back drops it anyway.
    connection.run_on_commit = [
        hook for hook in hooks if not (isinstance(hook[1], (Doomed, Taken)) and savepoints <= hook[0])
    ]
    outside = any(isinstance(hook[1], Doomed) for hook in connection.run_on_commit)
    setattr(connection, GATHERED, outside)
    if outside and taken:
        transaction.on_commit(Taken(taken), using=using)
    return taken


def where_kept(model: type[models.Model], using: str, act: Callable[[str], None]) -> None:
    """Call ``act`` with the alias that rows of ``model`` are written to, in a transaction there.

    At once where the deletion, on ``using``, is there as well; else when it is committed.
    """
    home = router.db_for_write(model)

    def act_after_the_commit() -> None:  # by its name Django logs what fails
        with transaction.atomic(using=home):
            act(home)

    if home == using:
        act(home)
    else:
        # Robust: it is committed, and nobody's page is to fail for rows that stay.
        transaction.on_commit(act_after_the_commit, using=using, robust=True)
