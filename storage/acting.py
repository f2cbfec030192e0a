"""Who acts: whom the actions name that are published of themselves (`footfall.storage.changeactions`)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from footfall.producers.scoping import current_scope
from footfall.producers.visitors import known_user


class _Nobody:
    def __repr__(self) -> str:
        return "UNKNOWN"


#: Nobody has said who acts.
UNKNOWN: Any = _Nobody()

_acting: ContextVar[Any] = ContextVar("footfall_acting", default=UNKNOWN)


@contextmanager
def acting_as(actor: Any) -> Iterator[None]:
    """What is changed in the block was changed by ``actor``: any saved object, mostly a user; None or an anonymous user
    is nobody. Also a decorator of a function: ``@acting_as(robot)``. No query.
    """
    token = _acting.set(actor)
    try:
        yield
    finally:
        _acting.reset(token)


def who_acts() -> Any:
    """Who acts, as far as it is known without a query; else `UNKNOWN`.

    As `acting_as` says; else the user of the revision that is being made, where django-reversion is at work; else the
    user who makes the request, where `ScopeMiddleware` is and ``request.user`` was asked for already.
    """
    said = _acting.get()
    if said is not UNKNOWN:
        return said
    user = _of_the_revision() or _of_the_request()
    return UNKNOWN if user is None else user


def _of_the_revision() -> Any:
    reversion = sys.modules.get("reversion.revisions")  # where it isn't loaded, no revision is being made
    return reversion.get_user() if reversion is not None and reversion.is_active() else None


def _of_the_request() -> Any:
    scope = current_scope()
    return known_user(scope.request) if scope is not None and scope.request is not None else None
