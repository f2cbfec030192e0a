"""Actions for feed readers: as Atom (RFC 4287, paged as in RFC 5005) and as JSON Feed 1.1.

Both are views to be put into a URLconf (`footfall.storage.urls` has them) or to be subclassed; what a program has
fetched, nobody has read, so nothing is marked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseBase, JsonResponse
from django.urls import get_script_prefix
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control, patch_vary_headers, set_response_etag
from django.utils.encoding import iri_to_uri
from django.utils.feedgenerator import Atom1Feed
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _
from django.views.generic import View

from footfall.storage.feeds import feed_of
from footfall.storage.handlers import ActionHandler
from footfall.storage.rendering import made_for
from footfall.storage.sentences import first_url, name_of

if TYPE_CHECKING:
    from footfall.storage.actionlists import ActionQuerySet

JSON_FEED = "https://jsonfeed.org/version/1.1"

#: What XML can't hold in any form.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One action as feed readers see it. ``url`` and ``author`` are "" where there is none; times are in UTC."""

    id: str
    text: str
    url: str
    author: str
    published: datetime
    changed: datetime


class ActionFeed(View):
    """A page of actions, newest first: ``?after=<cursor>`` is the next one, ``?size=`` its length (at most 100).

    By default the feed of the user who is logged in; others are sent to the login page. A size or cursor that can't be
    is a 400, anything but GET and HEAD a 405. Readers may keep a page and ask by its ETag whether it is still the same.

    For the stream of one object, that anybody may read::

        class ArticleFeed(AtomFeed):
            login_required = False

            def get_actions(self, request, pk):
                article = get_object_or_404(Article.objects.public(), pk=pk)
                self.title = f"Activity on {article}"
                return article.actions.as_target(level__gte=level.INFO)
    """

    http_method_names = ["get", "head", "options"]
    title: Any = _("Activity")
    page_size = 20
    max_page_size = 100
    login_required = True

    def get_actions(self, request: HttpRequest, **kwargs: Any) -> ActionQuerySet:
        """The actions to be shown: any queryset of them. ``kwargs`` are those of the URL."""
        return feed_of(request.user)

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        viewer = getattr(request, "user", None)
        if self.login_required and not getattr(viewer, "is_authenticated", False):
            return redirect_to_login(request.get_full_path())
        actions = self.get_actions(request, **kwargs)
        try:
            page = actions.page(size=self._size(request), after=request.GET.get("after", ""))
        except ValueError as error:
            return HttpResponseBadRequest(str(error), content_type="text/plain; charset=utf-8")
        entries = made_for(viewer, page.actions, lambda handler: _entry(handler, request))
        response = self.feed(request, entries, _next_url(request, page.next))
        patch_cache_control(response, private=True, no_cache=True)
        patch_vary_headers(response, ["Cookie"])
        set_response_etag(response)
        return get_conditional_response(request, etag=response["ETag"], response=response) or response

    def feed(self, request: HttpRequest, entries: Sequence[Entry], next_url: str) -> HttpResponse:
        """The page in its format; ``next_url`` is "" on the last one."""
        raise NotImplementedError

    def _size(self, request: HttpRequest) -> int:
        size = request.GET.get("size", str(self.page_size))
        if not (size.isascii() and size.isdecimal() and len(size) < 10 and int(size)):
            raise ValueError(f"size is a number from 1 to {self.max_page_size}.")
        return min(int(size), self.max_page_size)


class AtomFeed(ActionFeed):
    """`ActionFeed` as Atom."""

    def feed(self, request: HttpRequest, entries: Sequence[Entry], next_url: str) -> HttpResponse:
        title, home = _clean(str(self.title)), _home(request)
        atom = _AtomPage(
            title=title,
            link=home,
            description=None,
            language=get_language(),
            author_name=title,  # where an entry has none there must be one of the feed
            feed_url=request.build_absolute_uri(),
            feed_guid=iri_to_uri(request.build_absolute_uri(request.path)),
            next_url=next_url,
        )
        for entry in entries:
            atom.add_item(
                title=entry.text,
                link=entry.url or home,
                description=None,  # type: ignore[arg-type]  # the stubs forget that it may be left out
                author_name=entry.author or None,
                pubdate=entry.published,
                updateddate=entry.changed,
                unique_id=entry.id,
            )
        return HttpResponse(atom.writeString("utf-8"), content_type="application/atom+xml; charset=utf-8")


class JSONFeed(ActionFeed):
    """`ActionFeed` as JSON Feed."""

    def feed(self, request: HttpRequest, entries: Sequence[Entry], next_url: str) -> HttpResponse:
        whole = {
            "version": JSON_FEED,
            "title": _clean(str(self.title)),
            "home_page_url": _home(request),
            "feed_url": iri_to_uri(request.build_absolute_uri(request.path)),
            "next_url": next_url,
            "language": get_language(),
            "items": [_json_item(entry) for entry in entries],
        }
        told = {name: value for name, value in whole.items() if value or name == "items"}
        return JsonResponse(told, content_type="application/feed+json")


class _AtomPage(Atom1Feed):
    """An Atom feed that says where its next page is."""

    def add_root_elements(self, handler: Any) -> None:
        super().add_root_elements(handler)
        if self.feed["next_url"]:
            handler.addQuickElement("link", "", {"rel": "next", "href": self.feed["next_url"]})


def _json_item(entry: Entry) -> dict[str, Any]:
    item = {
        "id": entry.id,
        "url": entry.url,
        "content_text": entry.text,
        "date_published": entry.published.isoformat(),
        "date_modified": entry.changed.isoformat(),
        "authors": [{"name": entry.author}] if entry.author else [],
    }
    return {name: value for name, value in item.items() if value or name == "content_text"}


def _entry(handler: ActionHandler, request: HttpRequest) -> Entry:
    action = handler.action
    url = first_url([*handler.targets, *handler.related, handler.actor])
    return Entry(
        id=action.pk.urn,
        text=_clean(handler.get_text()),
        url=iri_to_uri(request.build_absolute_uri(url)) if url else "",
        author="" if handler.actor is None else _clean(name_of(handler.actor)),
        published=_in_utc(action.timestamp),
        changed=_in_utc(action.changed),
    )


def _clean(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)


def _in_utc(at: datetime) -> datetime:
    aware = timezone.make_aware(at, timezone.get_default_timezone()) if timezone.is_naive(at) else at
    return aware.astimezone(UTC)


def _home(request: HttpRequest) -> str:
    return str(iri_to_uri(request.build_absolute_uri(get_script_prefix())))


def _next_url(request: HttpRequest, after: str) -> str:
    if not after:
        return ""
    query = request.GET.copy()
    query["after"] = after
    return str(iri_to_uri(request.build_absolute_uri(f"{request.path}?{query.urlencode()}")))
