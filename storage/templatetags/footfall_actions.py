"""What those whom the user follows did, in templates: ``{% load footfall_actions %}``.

::

    {% activity_feed user %}
    {% activity_feed user size=5 include_own=True verb="commented" %}
    {% unread_count user as unread %}{% if unread %}<span>{{ unread }}</span>{% endif %}
    {% unread_count user limit=99 %}
    {% for author in authors %}{{ author }} {% follow_button author %}{% endfor %}
    {% follow_button article actor_only=False %}
    {% for action in article.actions.as_target|with_unread:user %}{% render_action action %}{% endfor %}

The reader is the request's user: the context processor ``request`` has to be there for buttons, and the site's URLconf
has to include `footfall.storage.urls`. What a reader is shown is read thereby (AUTO_READ); that is published, not
written. The templates are ``footfall/action_list.html``, ``footfall/follow_button.html`` and those of the actions.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template
from django.contrib.admin.utils import quote
from django.contrib.auth.views import redirect_to_login
from django.db import models
from django.http import HttpRequest
from django.template.context import RequestContext
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString

from footfall.storage.actionlists import load_for
from footfall.storage.connecting import connection_of
from footfall.storage.deletedrows import as_shown
from footfall.storage.feeds import feed_of, unread_count_of
from footfall.storage.followed import is_followed
from footfall.storage.loading import entries_of
from footfall.storage.models import Action, DeletedItem
from footfall.storage.refkeys import installed
from footfall.storage.rendering import bulk_render_html
from footfall.storage.templatetags.footfall_seen import NOT_GIVEN, is_nothing
from footfall.storage.tracked import ref_of
from footfall.storage.unread import last_stamp

register = template.Library()

#: The parameter of an address that says where a page of a feed begins.
AFTER = "after"


@register.simple_tag(takes_context=True)
def activity_feed(
    context: RequestContext, user: Any, size: int = 20, include_own: bool = False, **filters: Any
) -> SafeString:
    """A page of the feed of ``user``, from the cursor on that the request's ``?after=`` names.

    With a link to older actions and, where any is unread, a button that marks all as read. Seven queries, and one for
    each type of object. Where a cursor leads past the first page, there is a link to the newest, too.
    """
    request = context.get("request")
    reader = getattr(request, "user", user)
    if not _is_known(user):
        return _rendered("footfall/action_list.html", {"items": []}, request)
    # What is stored after this moment is not on the page, and not read by its button.
    up_to = last_stamp()
    page = _page(feed_of(user, include_own=include_own, **filters), size, request)
    unread = Action.bulk_is_unread_for(reader, page.actions)
    texts = bulk_render_html(page.actions, reader, request=request)
    shown = {
        "items": [
            {"action": action, "html": html, "unread": is_new}
            for action, html, is_new in zip(page.actions, texts, unread, strict=True)
        ],
        "older": _at(request, page.next) if page.next else "",
        "newest": _at(request, "") if _cursor(request) else "",
        "next": _here(request),
    }
    # Read may be what this page shows while there is more on others.
    if up_to is not None and request is not None and reader == user and (any(unread) or unread_count_of(user, limit=1)):
        shown |= {"mark_all_read": _url("footfall:mark_all_read"), "up_to": up_to.isoformat()}
    return _rendered("footfall/action_list.html", shown, request)


@register.simple_tag
def unread_count(user: Any, limit: int | None = None) -> int | str:
    """How many actions ``user`` has not read: a number, and where they are more than ``limit`` like ``99+``.

    One query; none, and 0, for an anonymous user.
    """
    if not _is_known(user):
        return 0
    if limit is None:
        return unread_count_of(user)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise template.TemplateSyntaxError(f"unread_count: limit is a number from 0 up, not {limit!r}.")
    count = unread_count_of(user, limit=limit + 1)
    return count if count <= limit else f"{limit}+"


@register.simple_tag(takes_context=True)
def follow_button(context: RequestContext, obj: Any, actor_only: bool = True) -> SafeString | str:
    """A button by which the request's user begins to follow ``obj``, or ends it; a link to the login for a stranger.

    With ``actor_only=False`` they are also told of what others do to it. One query for all objects of a model. Nothing
    for no object, nor for the user's own account; and nobody begins to follow what is deleted, softly or for good.
    Raises TemplateSyntaxError where there is no request, NoReverseMatch where the URLconf doesn't include
    `footfall.storage.urls`, TypeError for what is no object, LookupError for one of a model that is not connected.
    """
    request: Any = context.get("request")
    if getattr(request, "user", None) is None:
        raise template.TemplateSyntaxError("follow_button: there is no 'request' with a user in the context.")
    # What is left of a softly deleted object is not stored, and something nevertheless.
    if (is_nothing(obj) and not isinstance(obj, DeletedItem)) or obj == request.user:
        return ""
    if not isinstance(obj, models.Model):
        raise TypeError(f"{obj!r} is not a model instance.")
    ref, named = ref_of(obj), as_shown(obj)
    model = installed(ref.type)
    if model is None or connection_of(model) is None:
        raise LookupError(f"{ref.type} is not connected (footfall.storage.actions.connect).")
    following = _is_known(request.user) and is_followed(request, obj)
    if isinstance(named, DeletedItem) and not following:
        return ""
    shown: dict[str, Any] = {"object": named, "actor_only": actor_only, "next": _here(request)}
    if _is_known(request.user):
        url = reverse("footfall:unfollow" if following else "footfall:follow", args=(ref.type, quote(ref.id or "")))
        shown |= {"following": following, "url": url}
    else:
        shown |= {"login": redirect_to_login(shown["next"]).url}
    return _rendered("footfall/follow_button.html", shown, request)


@register.simple_tag(takes_context=True)
def render_action(context: RequestContext, action: Any, user: Any = NOT_GIVEN) -> SafeString | str:
    """An action as HTML for ``user`` (default: the request's); nothing for no action.

    What actions are about that came out of one queryset is loaded together, whichever is rendered first; whether they
    are unread is asked for each of them, unless `with_unread` has.
    """
    if is_nothing(action):
        return ""
    entries_of(action)  # and with it those of the others
    request = context.get("request")
    reader = getattr(request, "user", None) if user is NOT_GIVEN else user
    reader = None if is_nothing(reader) else reader
    (html,) = bulk_render_html([action], reader, request=request)
    return html


@register.filter
def with_unread(actions: Iterable[Action], user: Any) -> list[Action]:
    """The actions as a list, loaded with all that is shown of them to ``user``: four queries, and one per type."""
    if is_nothing(actions):
        return []
    listed = list(actions)
    load_for(user, listed)
    return listed


def _is_known(user: Any) -> bool:
    return bool(getattr(user, "is_authenticated", False))


def _page(feed: Any, size: int, request: HttpRequest | None) -> Any:
    try:
        return feed.page(size=size, after=_cursor(request))
    except ValueError:  # a cursor that is none
        return feed.page(size=size)


def _cursor(request: HttpRequest | None) -> str:
    return "" if request is None else request.GET.get(AFTER, "")


def _at(request: HttpRequest | None, cursor: str) -> str:
    """The address of the page that begins at ``cursor``."""
    if request is None:
        return ""
    query = request.GET.copy()
    query.pop(AFTER, None)
    if cursor:
        query[AFTER] = cursor
    return f"?{query.urlencode()}"


def _here(request: HttpRequest | None) -> str:
    return "" if request is None else request.get_full_path()


def _url(name: str, *args: str) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _rendered(name: str, shown: dict[str, Any], request: HttpRequest | None) -> SafeString:
    return render_to_string(name, shown, request)
