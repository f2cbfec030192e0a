"""Bytes and text of strangers, made fit to be read: no character of theirs reaches a terminal or a page as itself
unless it is printable. Escaping for HTML is the template's."""

_SAMPLE = 4096
_PLAIN = "\n\t"
_ROW = 16


def printable(text: str, keep: str = "") -> str:
    """``text`` with everything escaped that is not printable: control, format and direction marks, surrogates.

    Characters in ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def readable(body: bytes, limit: int | None = None) -> str:
    """``body`` as text with escapes, or as a hexdump where it is no text, in lines; cut after ``limit`` bytes.

    What is not UTF-8 in a text shows as ``\\xff``. A cut says how much is left out.
    """
    shown = body[:limit]
    if is_binary(shown):
        text = hexdump(shown)
    else:
        text = printable(shown.decode("utf-8", "backslashreplace"), keep=_PLAIN)
    return text if len(shown) == len(body) else f"{text}\n[cut: {len(shown)} of {len(body)} bytes are shown]"


def is_binary(body: bytes) -> bool:
    """Whether a quarter or more of its beginning is neither UTF-8 nor printable."""
    sample = body[:_SAMPLE].decode("utf-8", "surrogateescape")
    odd = sum(not (c.isprintable() or c in "\r\n\t") for c in sample)
    return odd > 0 and odd * 4 >= len(sample)


def hexdump(body: bytes) -> str:
    """Sixteen bytes a line: offset, hexadecimal, ASCII."""
    rows = ((start, body[start : start + _ROW]) for start in range(0, len(body), _ROW))
    return "\n".join(f"{start:08x}  {row.hex(' '):<{_ROW * 3}} |{_ascii(row)}|" for start, row in rows)


def _ascii(row: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
