"""Publishes a view from a detail page, when the page has answered: `TrackViewMixin` and `track_view`.

A view counts when a GET was answered with the page, be it from the browser's cache (a status of 200 to 299, or 304; of
a template response: once it is rendered), and the request has a user who is known. A site without authentication
publishes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models, router
from django.http import HttpRequest, HttpResponseBase

from footfall.producers.messages import Ref
from footfall.producers.publish import _publish_view, _type_of, publish_view

#: What a URL calls an object's primary key.
KEY_NAMES = ("pk", "id", "object_id")
KEY_LENGTH = 255

View = Callable[..., Any]


class TrackViewMixin:
    """For a DetailView, before it in the bases: the request's user has seen ``self.object``. Sync and async."""

    object: models.Model

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        response = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]  # of the view class beside this one
        if isinstance(response, HttpResponseBase):
            self._publish(request, response, _user_of(request))
            return response
        return self._publish_async(request, response)

    async def _publish_async(self, request: HttpRequest, awaited: Any) -> HttpResponseBase:
        response: HttpResponseBase = await awaited
        self._publish(request, response, await _auser_of(request))
        return response

    def _publish(self, request: HttpRequest, response: HttpResponseBase, user: Any) -> None:
        # A view that turned the visitor away, to the login page for one, has looked up no object.
        seen = getattr(self, "object", None)
        if seen is not None and _counts(request, response, user):
            _once_rendered(response, lambda: publish_view(user, seen))


def track_view(target: type[models.Model] | Callable[..., models.Model | None]) -> Callable[[View], View]:
    """Decorate a function view, sync or async: the request's user has seen what ``target`` says.

    ``target`` is a model, whose object the URL's argument ``pk``, ``id`` or ``object_id`` names (no query), or a
    callable (of a sync view a plain function) that gets what the view got and returns the object, or None for none.
    It is called after the view. Raises TypeError for another target, ImproperlyConfigured in a request whose URL names
    no object, and what `publish_view` raises.
    """
    if not callable(target):
        raise TypeError(f"track_view takes a model or a callable, not {target!r}.")

    def decorate(view: View) -> View:
        return _tracking_async(view, target) if iscoroutinefunction(view) else _tracking(view, target)

    return decorate


def _tracking(view: View, target: Any) -> View:
    @functools.wraps(view)
    def tracked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = view(request, *args, **kwargs)
        user = _user_of(request)
        if _counts(request, response, user):
            seen = kwargs if _is_model(target) else target(request, *args, **kwargs)
            _once_rendered(response, lambda: _publish(user, target, seen))
        return response

    return tracked


def _tracking_async(view: View, target: Any) -> View:
    call = target if iscoroutinefunction(target) else sync_to_async(target)

    @functools.wraps(view)
    async def tracked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response: HttpResponseBase = await view(request, *args, **kwargs)
        user = await _auser_of(request)
        if _counts(request, response, user):
            seen = kwargs if _is_model(target) else await call(request, *args, **kwargs)
            _once_rendered(response, lambda: _publish(user, target, seen))
        return response

    return tracked


def _is_model(target: Any) -> bool:
    return isinstance(target, type) and issubclass(target, models.Model)


def _publish(user: Any, target: Any, seen: Any) -> None:
    """Publish ``seen``: the URL's arguments where the target is a model, else the object or None."""
    if not _is_model(target):
        if seen is not None:
            publish_view(user, seen)
        return
    key = _key_in(seen, target)
    if key is not None:
        _publish_view(user, Ref(_type_of(target), key), router.db_for_write(target), None)


def _key_in(arguments: dict[str, Any], model: type[models.Model]) -> str | None:
    """The primary key among a URL's arguments, as text; None for what can't be one: a stranger wrote it."""
    given = next((arguments[name] for name in KEY_NAMES if name in arguments), None)
    if given is None:
        names = ", ".join(KEY_NAMES)
        raise ImproperlyConfigured(f"track_view: the URL of a {model._meta.label} has no argument {names}.")
    field: Any = model._meta.pk
    while field.remote_field is not None:
        field = field.target_field
    try:
        key = field.to_python(given)
        field.run_validators(key)
        text = str(key)
        text.encode()
    except (ValidationError, ValueError, OverflowError):
        return None
    return text if 0 < len(text) <= KEY_LENGTH and "\0" not in text else None


def _counts(request: HttpRequest, response: HttpResponseBase, user: Any) -> bool:
    if request.method != "GET" or not (200 <= response.status_code < 300 or response.status_code == 304):
        return False
    return user is not None and not getattr(user, "is_anonymous", False)


def _once_rendered(response: Any, publish: Callable[[], Any]) -> None:
    """Call ``publish`` now, or once a template response is rendered: one that fails to render was not seen."""

    def rendered(response: Any) -> None:
        publish()

    if hasattr(response, "add_post_render_callback"):
        response.add_post_render_callback(rendered)
    else:
        publish()


def _user_of(request: HttpRequest) -> Any:
    return getattr(request, "user", None)


async def _auser_of(request: HttpRequest) -> Any:
    # request.user is lazy, and its query can't be made on the event loop.
    return await request.auser() if hasattr(request, "auser") else _user_of(request)
