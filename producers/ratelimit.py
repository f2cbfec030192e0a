"""How many labels one client may count in a minute, kept in Django's cache.

The window is fixed: the minute of the clock. A client is its address as `client_address` tells it, under a keyed hash
that changes with each window; the address itself is never stored. A limit is a help, not a promise: where the cache
fails, or the client can't be told, requests pass.
"""

import logging
import time

from django.core.cache import caches
from django.http import HttpRequest
from django.utils.crypto import salted_hmac

from footfall.producers.settings import conf
from footfall.producers.visitors import client_address

logger = logging.getLogger("footfall.ratelimit")

WINDOW_SECONDS = 60

#: A complaint is logged at most this often by a process, in seconds.
COMPLAIN_SECONDS = 300

_complained: dict[str, float] = {}


def seconds_to_wait(request: HttpRequest, labels: int) -> int:
    """0 where the client of ``request`` may count so many ``labels`` now, else the seconds until it may try again.

    What is refused counts along. Asks the cache TRACK_CACHE, and blocks on it; never raises.
    """
    client = client_address(request)
    if not client:
        _complain("No client has an address, so none is limited: is TRUSTED_PROXIES right?")
        return 0
    now = int(time.time())
    if _counted(client, now // WINDOW_SECONDS, labels) <= conf.TRACK_LABELS_PER_MINUTE:
        return 0
    _complain("A client sends more than TRACK_LABELS_PER_MINUTE. If all do, TRUSTED_PROXIES is not right.")
    return WINDOW_SECONDS - now % WINDOW_SECONDS


def _counted(client: str, window: int, labels: int) -> int:
    """What the client came to in the window, these ``labels`` included; 0 where the cache doesn't say."""
    token = salted_hmac("footfall.ratelimit", f"{window} {client}", algorithm="sha256").hexdigest()[:32]
    key = f"footfall.track.{token}"
    try:
        cache = caches[conf.TRACK_CACHE]
        cache.add(key, 0, 2 * WINDOW_SECONDS)
        return int(cache.incr(key, labels))  # some caches answer None where their server is away
    except Exception as error:
        # Any: each cache has errors of its own, and a count lost with the cache is worse than one too many.
        # By its type only: a message may hold the cache's address and password.
        _complain(f"The cache {conf.TRACK_CACHE!r} does not count ({type(error).__name__}): no client is limited.")
        return 0


def _complain(text: str) -> None:
    now = time.monotonic()
    if now - _complained.get(text, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
        _complained[text] = now
        logger.warning(text)
