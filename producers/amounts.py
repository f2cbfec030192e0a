"""What a counter may change by: a whole number that fits into it."""

from typing import Any


def whole(value: Any, greatest: int) -> int:
    """``value`` as a whole number; a numeric string is taken.

    Raises ValueError for anything else (2.9, None, True) and for more than ``greatest``, up or down.
    """
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise ValueError(f"A counter changes by a whole number, not by {value[:80]!r}.") from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"A counter changes by a whole number, not by {value!r}.")
    if abs(value) > greatest:
        raise ValueError(f"{value} does not fit into the counter, which holds up to {greatest}.")
    return value
