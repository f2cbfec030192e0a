"""End-points of the buttons *Follow*, *Unfollow* and *Mark all as read*: POST only, for who is logged in.

They go back to the page that the form names in ``next``, or else to the Referer, as far as it is on this site's host;
a script that prefers ``application/json`` gets that instead. All have CSRF protection of their own, whatever the site's
middleware is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from django.contrib.admin.utils import unquote
from django.contrib.auth.views import redirect_to_login
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST

from footfall.producers.messages import Ref
from footfall.producers.settings import conf
from footfall.storage.changetime import earliest, site_time
from footfall.storage.connecting import connection_of
from footfall.storage.models import Action, Tracker
from footfall.storage.refkeys import installed, key_in
from footfall.storage.resolving import resolve
from footfall.storage.tracking import track
from footfall.storage.userkeys import user_key
from footfall.storage.views import back

View = Callable[..., HttpResponse]

HTML, JSON = "text/html", "application/json"


def _by_button(view: View) -> View:
    """A view for who is logged in; others are sent to the login page, and from there to where the button is."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if _wants_json(request):
            return JsonResponse({"error": "Nobody is logged in."}, status=401)
        return redirect_to_login(_back(request).url)

    return never_cache(require_POST(csrf_protect(guarded)))


@_by_button
def follow(request: HttpRequest, model: str, key: str) -> HttpResponse:
    """The user follows an object from now on: only what it does itself, or all that it is about (``actor_only`` "0").

    ``model`` is ``app_label.model``, ``key`` the primary key, quoted as in the admin's addresses. A model that is not
    connected, an object that is gone, and one that the user may not see (VISIBLE_OBJECTS) are a 404; who follows
    MAX_TRACKERS already gets a 409. Where the user follows it already, that stays as it is.
    """
    ref = _ref(model, key)
    obj = resolve([ref], viewer=request.user).get(ref)
    if not isinstance(obj, models.Model) or obj._meta.label_lower != ref.type:
        raise Http404("There is no such object.")
    if not _trackers(request.user, ref).exists():
        if Tracker.objects.filter(user_id=user_key(request.user)).count() >= conf.MAX_TRACKERS:
            return HttpResponse("You follow too many.", status=409, content_type="text/plain")
        track(request.user, obj, actor_only=request.POST.get("actor_only") != "0")
    return _answer(request, following=True)


@_by_button
def unfollow(request: HttpRequest, model: str, key: str) -> HttpResponse:
    """The user no longer follows an object, also where it is gone or not to be seen any more."""
    _trackers(request.user, _ref(model, key)).delete()
    return _answer(request, following=False)


@_by_button
def mark_all_read(request: HttpRequest) -> HttpResponse:
    """The user has read every action, or those that were stored as they are by ``up_to`` (ISO 8601); at once.

    An ``up_to`` that is no time is a 400.
    """
    try:
        up_to = _time(request.POST.get("up_to", ""))
    except ValueError:
        return HttpResponseBadRequest("up_to is not a time.", content_type="text/plain")
    Action.mark_all_read(request.user, up_to)
    return _answer(request, read=True)


def _ref(label: str, key: str) -> Ref:
    model = installed(label)
    if model is None or connection_of(model) is None:
        raise Http404("There is no such model to be followed.")
    known = key_in(model, unquote(key))
    if known is None:
        raise Http404("There is no such object.")
    return Ref(model._meta.label_lower, str(known))


def _trackers(user: Any, ref: Ref) -> models.QuerySet[Tracker]:
    return Tracker.objects.filter(user_id=user.pk, tracked_type=ref.type, tracked_id=ref.id)


def _time(text: str) -> datetime | None:
    if not text:
        return None
    at = parse_datetime(text)
    if at is None:
        raise ValueError(text)
    at = site_time(at)
    if at < earliest():
        raise ValueError(text)
    return at


def _answer(request: HttpRequest, **told: Any) -> HttpResponse:
    return JsonResponse(told) if _wants_json(request) else _back(request)


def _back(request: HttpRequest) -> Any:
    return back(request, request.POST.get("next", ""), "/")


def _wants_json(request: HttpRequest) -> bool:
    return request.get_preferred_type([HTML, JSON]) == JSON
