"""Times as the site's database keeps them."""

from datetime import datetime

from django.conf import settings
from django.utils import timezone


def stored(at: datetime) -> datetime:
    """An aware time as a DateTimeField takes it: naive, in the site's time zone, where USE_TZ is off."""
    return at if settings.USE_TZ else timezone.make_naive(at, timezone.get_default_timezone())
