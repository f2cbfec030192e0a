"""`track/` behind a real server: what comes over a socket need not be HTTP."""

from __future__ import annotations

import os
import random
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Process, eventually
from settings.base import SCRATCH

from footfall.producers.messages import decode_unit
from footfall.producers.tail import journals, read_slice

HERE = Path(__file__).resolve().parents[1]
FORM = b"Content-Type: application/x-www-form-urlencoded"


class Server:
    """gunicorn with the newsroom, on a port of its own."""

    def __init__(self, directory: Path, spool: Path) -> None:
        self.port = free_port()
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            f"127.0.0.1:{self.port}",
            "--workers",
            "1",
            "--threads",
            "4",
        ]
        environment = os.environ | {
            "DJANGO_SETTINGS_MODULE": "settings.embedded",
            "PYTHONPATH": str(HERE),
            "FOOTFALL_SPOOL_DIR": str(spool),
            "FOOTFALL_SCRATCH": str(SCRATCH),
        }
        log = directory / "gunicorn.log"
        self.process = Process([*command, "django.core.wsgi:get_wsgi_application()"], log, environment, directory)
        eventually(lambda: b"200" in self.say(b"GET /footfall/track/ HTTP/1.0\r\nHost: localhost\r\n\r\n"))

    def say(self, *pieces: bytes) -> bytes:
        """Send ``pieces`` one after the other, end, and read what comes back."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
                for piece in pieces:
                    connection.sendall(piece)
                connection.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: connection.recv(65536), b""))
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
            return b""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path, spool_directory: Path) -> Iterator[Server]:
    started = Server(tmp_path, spool_directory)
    yield started
    started.process.end()


def counted(spool: Path) -> list[int]:
    """How many labels each request counted."""
    slices = [read_slice(path, 0, max_lines=10**6, max_bytes=10**8) for path in journals(spool)]
    units = [decode_unit(line) for piece in slices if piece for _, line in piece.lines]
    return [len(unit.increments) for unit in units if unit]


def post(body: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /footfall/track/ HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
    return int(found[1]) if found else 0


def is_ok(answer: bytes) -> bool:
    """Whether it is the end-point's `ok`, in chunks or not."""
    return status(answer) == 200 and b"ok" in answer.partition(b"\r\n\r\n")[2]


def test_a_request_over_a_socket_is_counted(server: Server, spool_directory: Path) -> None:
    """As a script sends it, whole or in pieces of known length."""
    length = (b"Content-Type: text/plain", b"Content-Length: 3", b"Sec-Fetch-Site: same-origin")

    assert is_ok(server.say(post(b"a|b", *length)))
    assert is_ok(server.say(post(b"", *length), b"c", b"|", b"d"))
    assert counted(spool_directory) == [2, 2]


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ((b"Content-Length: 16385",), b"labels=" + b"x" * 16378, 413),
        ((b"Content-Length: 999999999999",), b"labels=a", 413),
        ((b"Content-Length: 18",), b"labels=a|cut-of", 400),  # it ends within a label: that would be another one
        ((b"Content-Length: -1",), b"labels=a", 400),
        ((b"Content-Length: x",), b"labels=a", 400),
        ((b"Content-Length: 5", b"Content-Length: 8"), b"labels=a", 400),
        ((b"Content-Length: 8", b"Sec-Fetch-Site: cross-site"), b"labels=a", 403),
        ((b"Content-Length: 8", b"Origin: http://elsewhere.example"), b"labels=a", 403),
        ((b"Content-Length: 8", b"Origin: \xff\xfe"), b"labels=a", 403),
        ((b"Content-Length: 8", b"Content-Type: text/html"), b"labels=a", 415),
        ((b"Transfer-Encoding: chunked",), b"5000\r\n" + b"x" * 0x5000 + b"\r\n0\r\n\r\n", 411),
        ((b"Transfer-Encoding: chunked",), b"zz\r\nlabels=a\r\n0\r\n\r\n", 411),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_refused(
    headers: tuple[bytes, ...], body: bytes, expected: int, server: Server, spool_directory: Path
) -> None:
    """By the server or by the end-point, and never with a 500."""
    if not any(header.startswith(b"Content-Type") for header in headers):
        headers = (FORM, *headers)

    assert status(server.say(post(body, *headers))) == expected
    assert counted(spool_directory) == []


def test_hundreds_of_broken_requests_end_nothing(server: Server, spool_directory: Path) -> None:
    """Random bytes, cut and garbled requests: no 500, no traceback in the log, and the next good one counts."""
    chance = random.Random(7)
    good = post(b"labels=a", FORM, b"Content-Length: 8")
    answers = []
    for number in range(400):
        request = bytearray(chance.randbytes(chance.randrange(200)) if number % 4 == 0 else good)
        for _ in range(chance.randrange(4)):
            if request:
                request[chance.randrange(len(request))] = chance.randrange(256)
        answers.append(status(server.say(bytes(request[: chance.randrange(1, len(good) + 20)]))))

    assert not [one for one in answers if one >= 500 and one != 501], answers
    assert "Traceback" not in server.process.output()
    assert is_ok(server.say(good))
    assert set(counted(spool_directory)) == {1}
