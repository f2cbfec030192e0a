"""A scope is one unit of work: what is published in it enters the spool together, at its end.

An event that is published inside ``atomic()`` waits for the commit and is dropped on rollback. A nested scope joins
the outer one. Outside of any scope each publish is a unit of its own.
"""

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, TypeVar, cast

from django.db import connections, transaction
from django.http import HttpRequest
from django.utils.module_loading import import_string

from footfall.producers import background, spool
from footfall.producers.messages import Event, encode_unit, new_id
from footfall.producers.rules import clean_user_agent
from footfall.producers.settings import conf

logger = logging.getLogger("footfall.scope")

#: A scope flushes itself when it holds this many events, or this many bytes.
MAX_EVENTS = 1000
MAX_BYTES = 1_048_576

Function = TypeVar("Function", bound=Callable[..., Any])
Sink = Callable[[str, Event], Callable[[], None]]

_current: ContextVar["Scope | None"] = ContextVar("footfall_scope", default=None)

#: Test helpers put a sink here: it sees each event at publish and returns what is to happen at its commit.
sink: ContextVar[Sink | None] = ContextVar("footfall_sink", default=None)


class Scope:
    """The events of one unit of work that are committed and not yet in the spool. Threads of the unit may share it."""

    def __init__(self, user_agent: str | None = None, request: HttpRequest | None = None) -> None:
        self.id = new_id()
        self.user_agent = None if user_agent is None else clean_user_agent(user_agent)
        self.request = request
        self.closed = False
        self._lock = threading.Lock()
        self._events: list[tuple[str, bytes]] = []
        self._size = 0
        self._waiting: set[str] = set()
        # Transactions that end with a flush of their own, by thread and alias.
        self._flushing: set[tuple[int, str]] = set()

    def submit(self, kind: str, raw: bytes, using: str) -> None:
        """Take an encoded event: now, or when the transaction on ``using`` commits. Not to be called once closed."""
        if connections[using].in_atomic_block:
            self._waiting.add(using)
            transaction.on_commit(functools.partial(self._add, kind, raw, using), using=using)
        else:
            self._add(kind, raw, using)

    def _add(self, kind: str, raw: bytes, using: str) -> None:
        with self._lock:
            self._events.append((kind, raw))
            self._size += len(raw)
            full = len(self._events) >= MAX_EVENTS or self._size >= MAX_BYTES
        # A transaction of another thread may outlive the scope: nobody else would flush after it.
        if full or (self.closed and (threading.get_ident(), using) not in self._flushing):
            self.flush()

    def close(self) -> None:
        """End the unit: flush now, and what still waits for this thread's commits right after them, together."""
        for using in list(self._waiting):
            if connections[using].in_atomic_block:
                self._flushing.add((threading.get_ident(), using))
                transaction.on_commit(self.flush, using=using)
        self.closed = True
        self.flush()

    def flush(self) -> None:
        """Hand over what is committed, as one line of the spool. Never raises."""
        with self._lock:
            events, self._events, self._size = self._events, [], 0
            self.id = new_id()  # what follows is a unit of its own: they travel apart and are not joined
        if events:
            hand_over(events)


def hand_over(events: list[tuple[str, bytes]]) -> None:
    """Give one unit's encoded events to the transport. Writes to the local disk; never raises into a view."""
    try:
        line = encode_unit(new_id(), events)
        if conf.TRANSPORT == "immediate":
            import_string(conf.APPLY)(line)
        elif spool.current_spool().append(line):
            background.notify()
    except Exception:
        logger.exception("A unit of %d events could not be handed over and is lost.", len(events))


def submit(kind: str, event: Event, raw: bytes, using: str) -> None:
    """Route one encoded event: to a test's sink, into the current scope, or out as a unit of its own."""
    capture = sink.get()
    if capture is not None:
        _at_commit(capture(kind, event), using)
    elif conf.ENABLED:
        scope = _current.get()
        if scope is not None and not scope.closed:
            scope.submit(kind, raw, using)
        else:
            _at_commit(functools.partial(hand_over, [(kind, raw)]), using)


def _at_commit(callback: Callable[[], None], using: str) -> None:
    # Outside of a transaction on_commit would open a connection, only to call back at once.
    if connections[using].in_atomic_block:
        transaction.on_commit(callback, using=using)
    else:
        callback()


def current_scope() -> Scope | None:
    """The scope that this thread or task is in, if any."""
    return _current.get()


class scope:  # noqa: N801 - used like a function: ``with scope():`` and ``@scope()``
    """One unit of work around a block, a function or a coroutine function.

    What is published inside enters the spool at the end in one write, also when an exception ends it. Inside another
    scope it joins that one. ``user_agent`` is that of the request, for filtering spiders: None keeps everything.
    ``request`` is the one that the unit answers, if any: its visitor is the one that is counted.
    Not to be entered twice at the same time; the decorator makes a new one for each call.
    """

    def __init__(self, user_agent: str | None = None, request: HttpRequest | None = None) -> None:
        self._user_agent = user_agent
        self._request = request
        self._opened: Scope | None = None
        self._token: Token[Scope | None] | None = None

    def __enter__(self) -> Scope:
        outer = _current.get()
        if outer is not None:
            return outer
        self._opened = Scope(self._user_agent, self._request)
        self._token = _current.set(self._opened)
        return self._opened

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None and self._token is not None:
            _current.reset(self._token)
            self._opened.close()
            self._opened = self._token = None

    def __call__(self, function: Function) -> Function:
        if asyncio.iscoroutinefunction(function):

            @functools.wraps(function)
            async def in_scope_async(*args: Any, **kwargs: Any) -> Any:
                with scope(self._user_agent, self._request):
                    return await function(*args, **kwargs)

            return cast(Function, in_scope_async)

        @functools.wraps(function)
        def in_scope(*args: Any, **kwargs: Any) -> Any:
            with scope(self._user_agent, self._request):
                return function(*args, **kwargs)

        return cast(Function, in_scope)
