"""End-points that mark as seen, for a button on a page: POST only, then back to where the user came from.

Each is a plain view, to be put into a URLconf (`footfall.storage.urls` has both) behind the site's own CSRF protection.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.exceptions import DisallowedRedirect
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from footfall.storage.naming import model_of
from footfall.storage.viewtracker import ViewTracker


@require_POST
def mark_all_as_viewed(request: HttpRequest, fallback_redirect_to: str = "/") -> HttpResponse:
    """Mark everything as seen by the request's user, at once; then 302 to the Referer if it is on this site's host.

    Anything but POST is a 405. Without a Referer on this host it goes to ``fallback_redirect_to``, a path or the name
    of a URL. For an anonymous user nothing is stored.
    """
    ViewTracker(_user(request)).mark_all_viewed()
    return back(request, fallback_redirect_to)


@require_POST
def mark_model_as_viewed(
    request: HttpRequest, model: type[models.Model] | models.Model | str, fallback_redirect_to: str = "/"
) -> HttpResponse:
    """Mark every object of ``model`` (a class, an instance, or a label ``app_label.model``) as `mark_all_as_viewed`.

    A label that is not an installed model's is a 404.
    """
    try:
        known = model_of(model)
    except LookupError as unknown:
        raise Http404(str(unknown)) from None
    ViewTracker(_user(request)).mark_model_viewed(known)
    return back(request, fallback_redirect_to)


def _user(request: HttpRequest) -> Any:
    return getattr(request, "user", None)


def back(request: HttpRequest, *wanted: str) -> HttpResponseRedirect:
    """302 to where the user came from: the first of ``wanted`` and the Referer that is on this site's host, or else to
    the last of ``wanted``, which is trusted: a path or the name of a URL."""
    *asked, fallback = wanted
    for url in (*asked, request.headers.get("Referer", "")):
        if url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure()):
            # It may be longer than a redirect may be, or not to be written as a header.
            with suppress(DisallowedRedirect, ValueError):
                return HttpResponseRedirect(url)
    return HttpResponseRedirect(resolve_url(fallback))
