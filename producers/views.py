"""A view that counts an object and sends the visitor on, for URLs that stand between a click and where it leads."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.cache import add_never_cache_headers

from footfall.producers.counting import send_increment_message

Send = Callable[[HttpRequest, Any, str, type[models.Model] | None, Mapping[str, Any]], object]


def track_object(
    request: HttpRequest,
    queryset: models.QuerySet[Any] | models.Manager[Any] | type[models.Model],
    message_op: str,
    message_func: Send = send_increment_message,
    trackable_cls: type[models.Model] | None = None,
    url_field: str | None = None,
    redirect_func: Callable[[Any, dict[str, Any]], str] | None = None,
    object_id: Any = None,
    slug: str | None = None,
    slug_field: str = "slug",
    **options: Any,
) -> HttpResponse:
    """Count the object of ``queryset`` with the key ``object_id``, or the first with ``slug``, and send the visitor on.

    ``queryset`` may be a manager or a model, too. ``message_op`` names the counter of ``trackable_cls``, default the
    first dataset of the object's model. Keyword arguments of the URLconf that have no name here are options of the
    message: ``value=5`` counts 5.

    A request with ``X-Requested-With: XMLHttpRequest`` is answered with ``true``; any other is redirected to what
    ``redirect_func(obj, options)`` returns, else to the object's ``url_field``, else to its ``get_absolute_url()``.
    A HEAD or OPTIONS request gets the same answer and counts nothing. Whatever fails, fails before anything is counted:
    raises Http404 where there is no such object, ImproperlyConfigured without a key or without an address to go to,
    DisallowedRedirect for an address with a scheme like ``javascript:``, and what ``message_func`` raises. One query.
    """
    obj = _find(queryset, object_id, slug, slug_field)
    response: HttpResponse
    if request.headers.get("X-Requested-With") == "XMLHttpRequest":
        response = HttpResponse("true", content_type="application/javascript")
    else:
        response = HttpResponseRedirect(_address(obj, url_field, redirect_func, options))
    if request.method not in ("HEAD", "OPTIONS"):
        message_func(request, obj, message_op, trackable_cls, options)
    add_never_cache_headers(response)  # an answer from a cache would count nothing
    return response


def _find(queryset: Any, object_id: Any, slug: str | None, slug_field: str) -> Any:
    queryset = getattr(queryset, "_default_manager", queryset).all()
    name, key = ("pk", object_id) if object_id is not None else (slug_field, slug)
    if key is None:
        raise ImproperlyConfigured("track_object needs an object_id or a slug from its URLconf.")
    found = None
    if "\0" not in str(key):  # which PostgreSQL refuses to look for
        # What can't be a key of this model is no object's key.
        with suppress(ValueError, ValidationError, OverflowError):
            found = queryset.filter(**{name: key}).first()
    if found is None:
        raise Http404(f"No {queryset.model._meta.verbose_name} has {key!r} as its {name}.")
    return found


def _address(
    obj: Any, url_field: str | None, redirect_func: Callable[[Any, dict[str, Any]], str] | None, options: dict[str, Any]
) -> str:
    address = redirect_func(obj, dict(options)) if redirect_func is not None else None
    if not address and url_field is not None:
        address = getattr(obj, url_field)
    if not address and hasattr(obj, "get_absolute_url"):
        address = obj.get_absolute_url()
    if not address:
        raise ImproperlyConfigured(
            f"track_object has no address to redirect to: give a redirect_func, a url_field that is not empty, "
            f"or {obj._meta.label} a get_absolute_url()."
        )
    return str(address)
