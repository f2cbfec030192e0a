"""Actions as text and as HTML, for a reader: many at once, and one that can't be rendered stands in nobody's way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest
from django.utils.safestring import SafeString

from footfall.producers.settings import conf
from footfall.storage import loading, unread
from footfall.storage.handlers import TEMPLATE, ActionHandler, handler_of

if TYPE_CHECKING:
    from footfall.storage.models import Action

logger = logging.getLogger("footfall.rendering")

Made = TypeVar("Made")


def bulk_render(actions: Iterable[Action], user: Any = None, context: Mapping[str, Any] | None = None) -> list[str]:
    """Each of ``actions`` as text, as ``user`` may see it; without one as an anonymous visitor may.

    ``context`` is handed to their handlers, with ``user`` and the true ``unread`` where a user is given; a ``user`` in
    it counts as given. With AUTO_READ the user has read them then: that is published, not written. After a page of a
    feed it costs no query; other actions are loaded together, and know from then on whether they are unread (see
    `footfall.storage.unread.load_flags`). Raises TypeError for what is no user, ValueError for an unsaved one.

    Where a handler raises, that is logged, and its action reads as without a handler of its own, so that one doesn't
    take a page down; with DEBUG it raises, as errors of the database always do.
    """
    return _rendered(actions, user, context, lambda handler, known: handler.render(known))


def bulk_render_html(
    actions: Iterable[Action],
    user: Any = None,
    context: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> list[SafeString]:
    """Each of ``actions`` as HTML, by the templates of their verbs; else as `bulk_render`."""
    return _rendered(actions, user, context, lambda handler, known: handler.render_html(known, request))


def made_for(viewer: Any, actions: Iterable[Action], make: Callable[[ActionHandler], Made]) -> list[Made]:
    """What ``make`` makes of the handler of each of ``actions``, for ``viewer``, who has read nothing thereby.

    Loads their objects together. Where ``make`` raises it gets a plainer handler, as `bulk_render` says.
    """
    listed = list(actions)
    loading.load(listed, viewer=viewer)
    return [_made(action, viewer, make, (handler_of(action.verb), _Plain, _Bare)) for action in listed]


def _rendered(
    actions: Iterable[Action],
    user: Any,
    context: Mapping[str, Any] | None,
    one: Callable[[ActionHandler, dict[str, Any]], Made],
) -> list[Made]:
    listed = list(actions)
    given = dict(context or {})
    user = given.get("user") if user is None else user
    if user is None:
        return made_for(None, listed, lambda handler: one(handler, given))
    unread.load_flags(user, listed)
    new = {action.pk: is_new for action, is_new in zip(listed, unread.bulk_is_unread(user, listed), strict=True)}
    made = made_for(
        user, listed, lambda handler: one(handler, {**given, "user": user, "unread": new[handler.action.pk]})
    )
    read = [action for action in listed if new[action.pk]]
    if read and conf.AUTO_READ:
        unread.publish_read(user, read)
    return made


def _made(
    action: Action, viewer: Any, make: Callable[[ActionHandler], Made], classes: Sequence[type[ActionHandler]]
) -> Made:
    """What ``make`` makes of the first of the handler ``classes`` with which it doesn't raise."""
    first, *others = classes
    try:
        handler = first(action)
        handler.viewer = viewer
        return make(handler)
    except DatabaseError:
        raise  # the transaction may be lost with it
    except Exception:
        if settings.DEBUG or not others:
            raise
        logger.exception("%s can't render the action %s (%s).", first.__qualname__, action.pk, action.verb)
    return _made(action, viewer, make, others)


class _Plain(ActionHandler):
    """Renders an action as if its verb had neither handler nor template."""

    def template_names(self) -> list[str]:
        return [TEMPLATE]


class _Bare(_Plain):
    """Renders its verb alone: one of the objects raises when it is asked for its name."""

    @property
    def objects(self) -> loading.Objects:
        return loading.Objects()
