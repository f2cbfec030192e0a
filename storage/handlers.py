"""How the actions of a verb behave: how they are joined, in the worker, and how they read, on a page.

A site subclasses `ActionHandler` in a module ``action_handlers`` of any installed app; the class is registered under
its ``verb``. In the worker handlers get plain `Draft` objects: they need no query, they may run more than once for the
same action, and an exception in one makes that action a dead letter. On a page a handler has its action at hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.template.loader import select_template
from django.utils.html import escape, format_html
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext

from footfall.producers.messages import MAX_LEVEL
from footfall.producers.publish import verb_text
from footfall.producers.settings import conf
from footfall.storage import loading
from footfall.storage.drafts import Draft
from footfall.storage.resolving import ANYBODY
from footfall.storage.sentences import link_to, name_of, sentence

if TYPE_CHECKING:
    from footfall.storage.models import Action

#: The template of an action whose verb has none of its own.
TEMPLATE = "footfall/action.html"

#: Longer names of a verb's template are not looked for: a file system would refuse them.
TEMPLATE_BYTES = 200


class _Levels:
    """The levels of FOOTFALL["LEVELS"] as attributes: ``level.INFO``."""

    def __getattr__(self, name: str) -> int:
        try:
            return int(conf.LEVELS[name])
        except KeyError:
            raise AttributeError(f'FOOTFALL["LEVELS"] has no level {name!r}') from None


level = _Levels()


class ActionHandler:
    """How the actions of one verb behave. What a class without a verb says stands for those that inherit from it.

    It is registered under the verb that it states itself: one that inherits a verb takes nobody's place.

    In the worker: ``combine_with_<other verb>(own, other)``, a static or class method, returns True when the two drafts
    of one unit of work are one action; ``own`` is the draft of this class's verb. Whatever is no letter, digit or
    underscore in the verb is written as an underscore. ``group`` is inherited (``group = "inherit"`` says so, too).

    On a page: ``actor``, ``targets`` and ``related`` are the action's objects as ``viewer`` may see them. A site
    overrides `get_text` for another sentence, `get_html` for one in HTML, or `render` and `render_html` for all of it;
    the HTML stands in the template ``footfall/actions/<verb>.html``, with underscores as above, or in
    ``footfall/action.html``.
    """

    verb: ClassVar[Any] = ""
    #: A number, or a name of FOOTFALL["LEVELS"].
    level: ClassVar[int | str | None] = None

    #: For whom it is rendered: a user, an anonymous one or None, who see what VISIBLE_OBJECTS lets through.
    viewer: Any = ANYBODY

    def __init__(self, action: Action) -> None:
        self.action = action

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if vars(cls).get("group") == "inherit":
            del cls.group
        if cls.level is not None:
            _number(cls.level)  # what is none says so here, not in the worker
        if own_verb := vars(cls).get("verb"):
            _handlers[verb_text(own_verb)] = cls

    # -- In the worker

    @classmethod
    def group(cls, newer: Draft, older: Draft) -> bool:
        """Whether two drafts of the same actor and verb are one: their targets or their related objects are equal.

        Two empty sides are equal only where the other sides are equal, too.
        """
        same_targets = len(newer.targets) == len(older.targets) and set(newer.targets) == set(older.targets)
        same_related = len(newer.related) == len(older.related) and set(newer.related) == set(older.related)
        if same_targets and same_related:
            return True
        return (same_targets and bool(newer.targets)) or (same_related and bool(newer.related))

    @classmethod
    def combinator(cls, verb: str) -> Callable[[Draft, Draft], bool] | None:
        """The hook that this class itself (not a base of it) defines for ``verb``."""
        name = f"combine_with_{_underscored(verb)}"
        return getattr(cls, name) if name in vars(cls) else None

    # -- On a page

    @property
    def actor(self) -> Any:
        """Who did it, as the viewer may see them; or None."""
        return self.objects.actor

    @property
    def targets(self) -> list[Any]:
        """What it was done to, as the viewer may see it."""
        return self.objects.targets

    @property
    def related(self) -> list[Any]:
        """What it stands in relation to, as the viewer may see it."""
        return self.objects.related

    @property
    def objects(self) -> loading.Objects:
        """All of them: loaded together for the actions that came together."""
        return loading.objects_of(self.action, viewer=self.viewer)

    def get_text(self) -> str:
        """The action as a sentence of plain text, in the active language: "bob created p and q in relation to t"."""
        return self._sentence(name_of)

    def get_html(self) -> str:
        """The same as HTML, its objects linked; of a handler with a `get_text` of its own that text, escaped."""
        if type(self).get_text is not ActionHandler.get_text:
            return escape(self.get_text())
        return self._sentence(link_to, format_html)

    def _sentence(self, named: Callable[[Any], str], fill: Callable[..., str] = str.format) -> str:
        # What becomes of an object while nobody is known to act is told by itself: "On seeing was changed".
        alone = self.targets == [self.actor] and not isinstance(self.actor, get_user_model())
        actor = None if self.actor is None or alone else named(self.actor)
        return sentence(self.action.verb, actor, [*map(named, self.targets)], [*map(named, self.related)], fill)

    def get_timeinfo(self) -> str:
        """How long ago it was, in the active language: "5 minutes ago"; "just now" for less than a minute.

        Also where it lies ahead: another host's clock is fast.
        """
        at = self.action.timestamp
        now = datetime.now(at.tzinfo)
        if now - at < timedelta(minutes=1):
            return gettext("just now")
        # Its no-break spaces are for pages, and this is compared, searched and mailed, too.
        return gettext("{time} ago").format(time=timesince(at, now, depth=1).replace("\xa0", " "))

    def get_context(self, **context: Any) -> dict[str, Any]:
        """What a template gets: ``context``, and action, data and handler; with a ``user`` whether it is ``unread``.

        Queries only where that was neither given nor loaded. A template takes the objects from the handler: the
        action's own are not held back from anybody.
        """
        from footfall.storage import unread

        user = context.get("user")
        if user is not None and "unread" not in context:
            context["unread"] = unread.bulk_is_unread(user, [self.action])[0]
        return {**context, "action": self.action, "data": self.action.data, "handler": self}

    def render(self, context: Mapping[str, Any] | None = None) -> str:
        """The action as plain text: what happened, and when. ``context`` is for handlers that say more."""
        return gettext("{text}, {time}").format(text=self.get_text(), time=self.get_timeinfo())

    def render_html(self, context: Mapping[str, Any] | None = None, request: HttpRequest | None = None) -> SafeString:
        """The action as HTML, by the template of its verb."""
        template: Any = select_template(self.template_names())
        html: SafeString = template.render(self.get_context(**(context or {})), request)
        return html

    def template_names(self) -> list[str]:
        """The templates that may render it; the first that exists does."""
        name = f"footfall/actions/{_underscored(self.action.verb)}.html"
        return [name, TEMPLATE] if len(name.encode()) <= TEMPLATE_BYTES else [TEMPLATE]


def _underscored(verb: str) -> str:
    return re.sub(r"\W", "_", verb)


_handlers: dict[str, type[ActionHandler]] = {}


def handler_of(verb: str) -> type[ActionHandler]:
    """The handler class of ``verb``, or the default one. The last definition of a verb wins."""
    return _handlers.get(verb) or default_handler()


def default_handler() -> type[ActionHandler]:
    """DEFAULT_HANDLER, a class or its import string. Raises ImproperlyConfigured where it is no `ActionHandler`."""
    named = conf.DEFAULT_HANDLER
    try:
        handler = import_string(named) if isinstance(named, str) else named
    except ImportError as error:
        raise ImproperlyConfigured(f'FOOTFALL["DEFAULT_HANDLER"] can\'t be imported: {error}') from error
    if not (isinstance(handler, type) and issubclass(handler, ActionHandler)):
        raise ImproperlyConfigured(f'FOOTFALL["DEFAULT_HANDLER"] is {handler!r}, which is not an ActionHandler class.')
    return handler


def known_verbs() -> set[str]:
    """The verbs that have a handler of their own."""
    return set(_handlers)


def level_of(verb: str) -> int:
    """The level of an action that states none: its handler's, else DEFAULT_LEVEL."""
    stated = handler_of(verb).level
    return _number(conf.DEFAULT_LEVEL if stated is None else stated)


def readable_level() -> int:
    """READABLE_LEVEL as a number: below it nothing is unread, and a feed shows it only where it is asked for."""
    return _number(conf.READABLE_LEVEL)


def _number(level: str | int) -> int:
    """A level as it is stored. Raises ValueError for a name that LEVELS doesn't have, or what is no such number."""
    number = conf.LEVELS.get(level) if isinstance(level, str) else level
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_LEVEL:
        names = ", ".join(map(repr, conf.LEVELS))
        raise ValueError(f"{level!r} is no level: it is one of {names}, or a number from 0 to {MAX_LEVEL}.")
    return int(number)
