"""The shipper thread of a web process: started with its first publish, woken by each, gone with the process."""

import logging
import os
import threading
import time
from queue import SimpleQueue
from typing import Any

from django.core.signals import setting_changed

from footfall.producers.settings import conf
from footfall.producers.shipper import Shipper
from footfall.producers.spool import current_spool
from footfall.producers.testruns import in_test_run

logger = logging.getLogger("footfall.shipper")

#: After a thread could not be started: how long no other is tried.
TRY_AGAIN_SECONDS = 5.0


class _Background:
    """The thread of one process, and what it is told by."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # Unlike an Event it may be set from a signal handler that interrupts its being set.
        self.wake: SimpleQueue[None] = SimpleQueue()
        self.stop = threading.Event()
        self.shipper: Shipper | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        if conf.TRANSPORT == "rabbitmq" and conf.SHIPPER == "thread" and not in_test_run():
            self.thread = threading.Thread(target=self._run, name="footfall-shipper", daemon=True)
            self.thread.start()

    def end(self, timeout: float) -> None:
        self.stop.set()
        self.wake.put(None)
        if self.thread is not None:
            self.thread.join(timeout)

    def _run(self) -> None:
        try:
            # pika is loaded where something is shipped, not in every process of a site.
            from footfall.producers.confirms import ConfirmingPublisher, amqp_parameters

            spool = current_spool()
            spool.open()
            self.shipper = Shipper(spool.directory, ConfirmingPublisher(amqp_parameters()), wake=self.wake)
            self.shipper.run(self.stop)
        except Exception:
            logger.exception("The shipper thread can't work. Its lines stay in the spool.")


_background: _Background | None = None
_not_before = 0.0
_starting = threading.RLock()


def notify() -> None:
    """Say that a line was accepted: starts this process's shipper thread if there is to be one, and wakes it.

    Takes well under a microsecond, but the first time. Never raises, never blocks.
    """
    background = _background
    if background is None or background.pid != os.getpid():
        start_thread()
    elif background.wake.empty():
        background.wake.put(None)


def start_thread() -> None:
    """Start this process's shipper thread where TRANSPORT and SHIPPER ask for it; once. Never raises, never blocks.

    The thread is a daemon: it doesn't hold up the end of the process, what is not shipped stays in the spool.
    """
    global _background, _not_before
    with _starting:
        if _background is not None and _background.pid == os.getpid():
            return
        if time.monotonic() < _not_before:
            return
        _leave_to_parent()
        background = _Background()
        try:
            background.start()
        except Exception:
            logger.exception("The shipper thread couldn't be started, trying again later. Its lines stay in the spool.")
            _not_before = time.monotonic() + TRY_AGAIN_SECONDS
        else:
            _background = background


def stop_thread(timeout: float = 5.0) -> None:
    """End this process's shipper thread, if it has one, and wait for it. The next `notify` starts another."""
    global _background
    background, _background = _background, None
    if background is not None and background.pid == os.getpid():
        background.end(timeout)


def _leave_to_parent() -> None:
    if _background is not None and _background.shipper is not None:
        _background.shipper.abandon()


def _start_in_child() -> None:
    global _background, _starting
    _starting = threading.RLock()
    _leave_to_parent()
    _background = None


# After the spool's own hook, which lets go of the guard that `abandon` needs.
os.register_at_fork(after_in_child=_start_in_child)


def _forget_settings(*, setting: str, **_: Any) -> None:
    if setting in {"FOOTFALL", "DRAMATIQ_BROKER", "BASE_DIR"}:
        stop_thread()


setting_changed.connect(_forget_settings)
