"""A batch: deliveries that travel through Dramatiq as one message, and what a broker must do to carry it.

Dramatiq sees a `BatchProxy`: a made-up message whose one argument is the batch. What Dramatiq does to messages one at
a time (retry them, time them out, look at their options) makes no sense for it, so of the site's middleware only the
hooks of an allow-list run for it. Models are not imported here: django-dramatiq loads brokers before they exist.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable
from threading import Event, Thread
from typing import Any, Protocol

import dramatiq
from django.db import connections
from django_dramatiq.middleware import DbConnectionsMiddleware
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware, MiddlewareError

from footfall.workers.sessions import keep_connections_alive


class Origin(Protocol):
    """The consumer that a batch came from."""

    @property
    def alive(self) -> bool:
        """False once its connection or its lock is gone: what it delivered will be delivered again."""

    def finish(self, batch: Any) -> None:
        """Take a batch back, settled or not. Called once, on a worker's thread. Never raises."""


class Batch:
    """Deliveries of one queue that are settled together. ``settled`` is set by the actor, after the commit."""

    def __init__(self, queue: str, origin: Origin) -> None:
        self.queue = queue
        self.origin = origin
        self.settled = False

    @property
    def alive(self) -> bool:
        """False where starting would be in vain: the same deliveries are on their way to somebody again."""
        return self.origin.alive

    def __len__(self) -> int:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{len(self)} of {self.queue}>"


class BatchProxy(MessageProxy):
    """A batch, as Dramatiq's threads pass it on."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(dramatiq.Message(batch.queue, batch.queue, args=(batch,), kwargs={}, options={}))
        self.batch = batch


class WorkerLife(Middleware):
    """Prepares the process when a worker boots, tells whatever waits that it shuts down, and tidies up behind it."""

    def after_process_boot(self, broker: dramatiq.Broker) -> None:
        """End with the master: an orphan would go on consuming, unsupervised, with the code of before a deploy."""
        master = multiprocessing.parent_process()
        if master is not None:
            Thread(target=_end_with, args=(master.pid,), name="footfall-orphan-watch", daemon=True).start()

    def before_worker_boot(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        assert isinstance(broker, BatchBroker)
        broker.stopping.clear()
        keep_connections_alive()

    def before_worker_shutdown(self, broker: dramatiq.Broker, worker: dramatiq.Worker) -> None:
        assert isinstance(broker, BatchBroker)
        broker.stopping.set()

    def before_worker_thread_shutdown(self, broker: dramatiq.Broker, thread: Any) -> None:
        connections.close_all()

    def before_consumer_thread_shutdown(self, broker: dramatiq.Broker, thread: Any) -> None:
        connections.close_all()


def _end_with(master: int | None) -> None:
    while os.getppid() == master:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


#: Middleware that may see a batch. Retries would enqueue the made-up message, TimeLimit and ShutdownNotifications
#: raise between any two bytecodes, AgeLimit and AdminMiddleware look at or store a message that does not exist.
ALLOWED: tuple[type[Middleware], ...] = (DbConnectionsMiddleware, WorkerLife)


class BatchBroker(dramatiq.Broker):
    """What Footfall's brokers have in common. ``stopping`` is set when the worker begins to shut down."""

    def __init__(self, *, middleware: list[Middleware] | None = None, **kwargs: Any) -> None:
        super().__init__(middleware=middleware, **kwargs)
        self.stopping = Event()
        self.add_middleware(WorkerLife())

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks ahead of ``signal``; for a batch, those of the allow-list only."""
        if _is_about_batch(args):
            self._emit(f"before_{signal}", self.middleware, args, kwargs)
        else:
            super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Run the hooks behind ``signal``; for a batch, those of the allow-list only."""
        if _is_about_batch(args):
            self._emit(f"after_{signal}", reversed(self.middleware), args, kwargs)
        else:
            super().emit_after(signal, *args, **kwargs)

    def _emit(self, hook: str, middleware: Iterable[Middleware], args: tuple[Any, ...], kwargs: Any) -> None:
        for each in middleware:
            if isinstance(each, ALLOWED):
                self._call(getattr(each, hook), *args, **kwargs)

    def _call(self, hook: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except MiddlewareError:
            raise
        except Exception:
            self.logger.critical("Unexpected failure in %r.", hook, exc_info=True)


def _is_about_batch(args: tuple[Any, ...]) -> bool:
    return bool(args) and isinstance(args[0], BatchProxy)


def refuse_delay(message: dramatiq.Message[Any], delay: int | None) -> None:
    """Raise ValueError for a delayed message to one of our actors."""
    if delay is not None:
        raise ValueError(f"Footfall's actor {message.actor_name} takes no delayed messages: events carry their time.")
