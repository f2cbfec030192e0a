"""Publishing to RabbitMQ with a window of confirms, over pika.

pika's blocking channel waits for the broker after each message once confirms are on. This publisher runs pika's
asynchronous connection for the length of a call, with up to CONFIRM_WINDOW messages under way. Everything that waits
has an end: a broker that is down, blocked by an alarm, or behind a half-open link shows within seconds.
"""

import inspect
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pika
from django.core.exceptions import ImproperlyConfigured
from pika import spec
from pika.adapters.select_connection import IOLoop, SelectConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.connection import Parameters
from pika.exceptions import AMQPError, ChannelClosedByBroker
from pika.frame import Method

from footfall.producers.queues import queue_arguments
from footfall.producers.settings import broker_options, conf
from footfall.producers.shipper import (
    BodyRefusedError,
    BrokerAwayError,
    PublishFailed,
    QueueFullError,
    UnroutableError,
)
from footfall.producers.slices import Message

__all__ = [
    "BodyRefusedError",
    "BrokerAwayError",
    "ConfirmingPublisher",
    "PublishFailed",
    "QueueFullError",
    "UnroutableError",
    "amqp_parameters",
]

logger = logging.getLogger("footfall.shipper")

#: What pika raises when a connection ends or is not made, in whatever state it was.
BROKEN = (AMQPError, AMQPConnectorException, OSError)

#: pika's own defaults wait for ever in an alarm. These hold where the site's URL or options say nothing. Seconds.
TIGHT = {"blocked_connection_timeout": 4, "socket_timeout": 5, "stack_timeout": 8, "heartbeat": 10}

CONNECT_SECONDS = 10.0
CONFIRM_SECONDS = 8.0
CLOSE_SECONDS = 1.0

PERSISTENT = pika.BasicProperties(delivery_mode=2)
PRECONDITION_FAILED = 406
NOT_FOUND = 404


class ConfirmingPublisher:
    """Publishes over one connection at a time, made on first use. Of several ``parameters`` each is tried in turn.

    Belongs to the thread and process that publish first; a forked child makes a connection of its own.
    """

    def __init__(self, parameters: Parameters | Sequence[Parameters]) -> None:
        self._parameters = [parameters] if isinstance(parameters, Parameters) else list(parameters)
        self._attempts = 0
        self._link: _Link | None = None
        self._owner: tuple[int, int] | None = None

    def publish(self, messages: Sequence[Message]) -> None:
        """Publish (queue, body) pairs as persistent messages, and return when the broker has confirmed each.

        Blocks, until some ten seconds without a sign from the broker have gone. A queue that doesn't exist is
        declared. Raises PublishFailed; its subclass says why, its ``confirmed`` which messages have arrived.
        """
        self._own()
        confirmed: set[int] = set()
        with _quiet:
            try:
                self._publish_missing(messages, confirmed)
            except PublishFailed as failure:
                failure.confirmed = frozenset(confirmed)
                self.close()
                raise
            except BROKEN as error:
                self.close()
                raise BrokerAwayError(repr(error), frozenset(confirmed)) from error

    def idle(self, seconds: float) -> None:
        """Wait, and answer the broker's heartbeats meanwhile. Raises nothing: a lost connection is made anew later."""
        self._own()
        with _quiet:
            try:
                if self._link is None:
                    time.sleep(seconds)
                else:
                    self._link.idle(seconds)
                    if self._link.lost is not None:
                        self.close()
            except BROKEN:
                self.close()

    def close(self) -> None:
        """End the connection. Blocks for a second or two at most. Never raises."""
        link, self._link = self._link, None
        if link is not None:
            with _quiet:
                link.close()

    def abandon(self) -> None:
        """In a forked child: forget the parent's connection, without a word to the broker. Never raises."""
        link, self._link, self._owner = self._link, None, None
        if link is not None:
            link.abandon()

    def _own(self) -> None:
        """Raises RuntimeError on another thread than the first: pika's connections belong to one."""
        me = (os.getpid(), threading.get_ident())
        if self._owner is not None and self._owner[0] != me[0]:
            self.abandon()
        if self._owner is None:
            self._owner = me
        if self._owner != me:
            raise RuntimeError("A ConfirmingPublisher belongs to the thread that used it first.")

    def _publish_missing(self, messages: Sequence[Message], confirmed: set[int]) -> None:
        returned = self._connected().publish(messages, range(len(messages)), confirmed)
        if returned:
            declared = {queue: self._declare(queue) for queue in sorted(returned)}
            again = [index for index, (queue, _) in enumerate(messages) if declared.get(queue)]
            again = [index for index in again if index not in confirmed]
            returned = {queue for queue, made in declared.items() if not made}
            returned |= self._connected().publish(messages, again, confirmed)
        if returned:
            names = ", ".join(sorted(returned))
            raise UnroutableError(f"there is no queue {names} at {self._where()}, and we may not declare it.")

    def _connected(self) -> "_Link":
        if self._link is not None and self._link.lost is not None:
            self.close()
        if self._link is None:
            self._attempts += 1
            self._link = _Link(self._parameters[self._attempts % len(self._parameters)])
        self._link.open()
        return self._link

    def _declare(self, queue: str) -> bool:
        """Make sure that ``queue`` exists. Passively first: whoever made it may have given it other arguments."""
        for passive in (True, False):
            refusal = self._connected().declare(queue, passive=passive)
            if refusal is None:
                if not passive:
                    logger.warning("The queue %s did not exist at %s; it was declared.", queue, self._where())
                return True
            if refusal.reply_code != NOT_FOUND:
                break
        return False

    def _where(self) -> str:
        parameters = self._parameters[self._attempts % len(self._parameters)]
        return f"{parameters.host}:{parameters.port}, virtual host {parameters.virtual_host}"


class _Loop(IOLoop):
    """pika's loop, which remembers whose descriptors it watches: those of the connection's sockets."""

    def __init__(self) -> None:
        super().__init__()
        self.sockets: set[int] = set()

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        self.sockets.add(fd)
        super().add_handler(fd, handler, events)

    def remove_handler(self, fd: int) -> None:
        self.sockets.discard(fd)
        super().remove_handler(fd)


class _Link:
    """One connection with its channel. What is under way on it is forgotten with it."""

    def __init__(self, parameters: Parameters) -> None:
        #: Why there is no connection any more, or no channel.
        self.lost: BaseException | None = None
        self._loop = _Loop()
        self._channel: Channel | None = None
        self._confirms_on = False
        self._published = 0
        self._answers = 0
        self._under_way: dict[int, tuple[int, str]] = {}
        self._confirmed: set[int] = set()
        self._returned: set[str] = set()
        self._nacked: set[str] = set()
        self._connection = SelectConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_lost,
            on_close_callback=self._on_lost,
            custom_ioloop=self._loop,
        )

    def open(self) -> None:
        """Wait until confirms are on. Raises BrokerAwayError."""
        self._await(lambda: self._confirms_on, CONNECT_SECONDS, "no connection")

    def publish(self, messages: Sequence[Message], indexes: Iterable[int], confirmed: set[int]) -> set[str]:
        """Publish the messages at ``indexes``, note in ``confirmed`` what arrived, return queues that don't exist."""
        self._confirmed, self._returned, self._nacked = confirmed, set(), set()
        window = max(1, conf.CONFIRM_WINDOW)
        for index in indexes:
            self._await_answers(window - 1)
            self._send(index, *messages[index])
        self._await_answers(0)
        if self._nacked:
            raise QueueFullError(f"the broker refuses messages for now, full: {', '.join(sorted(self._nacked))}.")
        return self._returned

    def declare(self, queue: str, *, passive: bool) -> ChannelClosedByBroker | None:
        """Declare ``queue``, or with ``passive`` ask for it, on a channel of its own: a refusal closes the channel."""
        answers: list[object] = []

        def ask(channel: Channel) -> None:
            channel.add_on_close_callback(lambda _, reason: answers.append(reason))
            arguments = None if passive else queue_arguments(queue)
            channel.queue_declare(queue, passive=passive, durable=True, arguments=arguments, callback=answers.append)

        channel = self._connection.channel(on_open_callback=ask)
        self._await(lambda: bool(answers), CONFIRM_SECONDS, "no answer")
        if isinstance(answers[0], ChannelClosedByBroker):
            return answers[0]
        channel.close()
        return None

    def idle(self, seconds: float) -> None:
        """Answer heartbeats for ``seconds``, or until the connection is lost."""
        self.wait(lambda: self.lost is not None, seconds)

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Run the connection until ``done()``, or for ``seconds``; return whether it is done."""
        deadline = time.monotonic() + seconds
        alarm = self._loop.call_later(seconds, lambda: None)
        self._loop.activate_poller()
        try:
            while not done() and time.monotonic() < deadline:
                self._loop.poll()
                self._loop.process_timeouts()
        finally:
            self._loop.deactivate_poller()
            self._loop.remove_timeout(alarm)
        return done()

    def close(self) -> None:
        """Say goodbye, and where there is no answer cut the line. Blocks for two seconds at most."""
        if not self._connection.is_closed:
            self._part()
        self._loop.close()

    def abandon(self) -> None:
        """In a forked child: put something harmless in the place of the sockets, which stay the parent's."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in self._loop.sockets:
            os.dup2(null, fd, inheritable=False)
        os.close(null)

    def _send(self, index: int, queue: str, body: bytes) -> None:
        assert self._channel is not None
        self._channel.basic_publish("", queue, body, PERSISTENT, mandatory=True)
        self._published += 1
        self._under_way[self._published] = (index, queue)

    def _await_answers(self, at_most: int) -> None:
        """Wait until no more than ``at_most`` messages are under way. Time runs anew with each answer."""
        while len(self._under_way) > at_most:
            answers = self._answers
            self._await(lambda: self._answers > answers, CONFIRM_SECONDS, "no confirm")  # noqa: B023 - called at once

    def _await(self, done: Callable[[], bool], seconds: float, missing: str) -> None:
        if not self.wait(lambda: done() or self.lost is not None, seconds):
            raise BrokerAwayError(f"{missing} within {seconds:g} seconds.")
        if self.lost is not None:
            raise _failure(self.lost) from self.lost

    def _part(self) -> None:
        with suppress(AMQPError):  # raised where it is closing already
            self._connection.close()
        if not self.wait(lambda: self._connection.is_closed, CLOSE_SECONDS):
            self._cut_line()
            self.wait(lambda: self._connection.is_closed, CLOSE_SECONDS)

    def _cut_line(self) -> None:
        # pika offers no way to drop a connection whose other end is silent; the end of its stream it does notice.
        for fd in list(self._loop.sockets):
            # OSError: it was never connected.
            with suppress(OSError), socket.socket(fileno=os.dup(fd)) as line:
                line.shutdown(socket.SHUT_RDWR)

    def _on_open(self, connection: SelectConnection) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _, reason: self._on_lost(None, reason))
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_answer, callback=self._on_confirms)

    def _on_confirms(self, _: object) -> None:
        self._confirms_on = True

    def _on_return(self, _: Channel, method: spec.Basic.Return, *__: object) -> None:
        self._returned.add(str(method.routing_key))

    def _on_answer(self, frame: "Method[spec.Basic.Ack | spec.Basic.Nack]") -> None:
        self._answers += 1
        answer = frame.method
        tag = answer.delivery_tag
        tags = [own for own in self._under_way if own <= tag] if answer.multiple else [tag]
        for index, queue in [self._under_way.pop(own) for own in tags if own in self._under_way]:
            if isinstance(answer, spec.Basic.Nack):
                self._nacked.add(queue)
            # An unroutable message is returned first, and then confirmed all the same.
            elif queue not in self._returned:
                self._confirmed.add(index)

    def _on_lost(self, _: object, reason: BaseException) -> None:
        if self.lost is None:
            self.lost = reason


def _failure(reason: BaseException) -> PublishFailed:
    text = repr(reason)
    if not isinstance(reason, ChannelClosedByBroker):
        return BrokerAwayError(text)
    if reason.reply_code == PRECONDITION_FAILED and "message size" in reason.reply_text:
        return BodyRefusedError(text)
    return PublishFailed(text)


class _Quiet(logging.Filter):
    """While it is entered, pika logs nothing on this thread: one lost connection is five ERRORs, at each new try."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.local()
        for name in PIKA_LOGGERS:
            logging.getLogger(name).addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self._thread, "depth", 0)

    def __enter__(self) -> None:
        self._thread.depth = getattr(self._thread, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        self._thread.depth -= 1


PIKA_LOGGERS = (
    "pika.adapters.base_connection",
    "pika.adapters.select_connection",
    "pika.adapters.utils.connection_workflow",
    "pika.adapters.utils.io_services_utils",
    "pika.adapters.utils.selector_ioloop_adapter",
    "pika.callback",
    "pika.channel",
    "pika.connection",
    "pika.heartbeat",
)
_quiet = _Quiet()


def amqp_parameters() -> list[Parameters]:
    """Where the broker is, from BROKER_URL, else from DRAMATIQ_BROKER's options; with tight time-outs where not given.

    Several URLs, in a list or parted by ";" as Dramatiq takes them, are the nodes of one cluster. Raises
    ImproperlyConfigured; no password is in its text.
    """
    if conf.BROKER_URL:
        return _from_urls(conf.BROKER_URL)
    options = broker_options()
    if options.get("url"):
        return _from_urls(options["url"])
    return [_from_keywords(keywords) for keywords in options.get("parameters") or [options]]


def _from_urls(urls: str | Sequence[str]) -> list[Parameters]:
    return [_from_url(url) for url in (urls.split(";") if isinstance(urls, str) else urls)]


def _from_url(url: str) -> Parameters:
    try:
        given = parse_qs(urlsplit(url).query)
        parameters = pika.URLParameters(url)
    except (ValueError, TypeError):
        # Without the cause: its text may hold a part of the URL, and that may be the password.
        raise ImproperlyConfigured("The broker's URL is not amqp://user:password@host:port/vhost.") from None
    return _tightened(parameters, given)


def _from_keywords(keywords: dict[str, Any]) -> Parameters:
    # Among Dramatiq's options are some for its broker; it checks them itself.
    known = inspect.signature(pika.ConnectionParameters).parameters
    own = {name: value for name, value in keywords.items() if name in known and name != "kwargs"}
    if not own:
        raise ImproperlyConfigured('FOOTFALL["BROKER_URL"] is not set, and DRAMATIQ_BROKER names no broker either.')
    return _tightened(pika.ConnectionParameters(**own), own)


def _tightened(parameters: Parameters, given: Iterable[str]) -> Parameters:
    for name in TIGHT.keys() - set(given):
        setattr(parameters, name, TIGHT[name])
    if parameters.client_properties is None:
        parameters.client_properties = {"connection_name": f"footfall shipper {socket.gethostname()}:{os.getpid()}"}
    return parameters
