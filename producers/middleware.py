"""Makes each HTTP request one scope, under WSGI and ASGI."""

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from footfall.producers.publish import user_agent_of
from footfall.producers.scoping import scope

Handler = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ScopeMiddleware:
    """What a request publishes enters the spool when its response is ready, in one write.

    Put it first in ``MIDDLEWARE``: what other middleware publishes then belongs to the same unit.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Handler) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self._call_async(request)
        with scope(user_agent_of(request), request):
            return self.get_response(request)

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        with scope(user_agent_of(request), request):
            response = self.get_response(request)
            assert isinstance(response, Awaitable)  # the handler is a coroutine function: see __init__
            return await response
