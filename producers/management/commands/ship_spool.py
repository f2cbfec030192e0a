"""``manage.py ship_spool``: ship the spool to RabbitMQ, as a supervised process or once before a container stops."""

import logging
import signal
import threading
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from footfall.producers.confirms import ConfirmingPublisher, amqp_parameters
from footfall.producers.settings import conf
from footfall.producers.shipper import Shipper
from footfall.producers.spool import SpoolError, spool_from_settings

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK_SECONDS = 0.2


class Command(BaseCommand):
    """Runs a `Shipper` in a thread and waits for a signal. Exits with 1 where --until-empty ended with lines left."""

    help = "Ship what is in the spool to RabbitMQ. SIGTERM and SIGINT finish what is under way and end it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--until-empty", action="store_true", help="end when everything is shipped")
        parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end after so many seconds")

    def handle(self, *, until_empty: bool, timeout: float | None, verbosity: int, **options: Any) -> None:
        if conf.TRANSPORT != "rabbitmq":
            raise CommandError(f'Nothing is shipped with the transport "{conf.TRANSPORT}", only with "rabbitmq".')
        shipper = self._shipper()
        if verbosity and not shipper.lock.acquire():
            self.stderr.write(f"Process {shipper.lock.holder()} ships this spool; waiting for it to end.")
        shipper.lock.release()
        _run(shipper, until_empty, timeout)
        if verbosity:
            self.stdout.write(_summary(shipper))
        if until_empty and not shipper.is_empty():
            raise CommandError("There are lines left in the spool.")

    def _shipper(self) -> Shipper:
        try:
            spool = spool_from_settings()
            spool.open()
            return Shipper(spool.directory, ConfirmingPublisher(amqp_parameters()))
        except (SpoolError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error


def _run(shipper: Shipper, until_empty: bool, timeout: float | None) -> None:
    """Ship until it is done, the time is over or a signal comes."""
    # Signals are waited for, not handled: a handler that sets an Event can hang in one that it interrupts.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        stop = threading.Event()
        thread = threading.Thread(target=shipper.run, args=(stop, until_empty), name="footfall-shipper")
        thread.start()
        _wait(thread, timeout)
        stop.set()
        thread.join()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _wait(thread: threading.Thread, timeout: float | None) -> None:
    deadline = None if timeout is None else time.monotonic() + timeout
    while thread.is_alive() and (deadline is None or time.monotonic() < deadline):
        if signal.sigtimedwait(STOP_SIGNALS, LOOK_SECONDS) is not None:
            logging.getLogger("footfall.shipper").info("Asked to end; finishing what is under way.")
            return


def _summary(shipper: Shipper) -> str:
    parts = [f"{shipper.shipped_units} units of work shipped"]
    if shipper.damaged_journals:
        parts.append(f"{shipper.damaged_journals} damaged journals passed over")
    if shipper.refused_messages:
        parts.append(f"{shipper.refused_messages} messages that the broker refuses put aside")
    return ", ".join(parts) + "."
