"""The spool's writer: what is accepted is in the file, what isn't is dropped loudly, and nothing raises."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from footfall.producers import spool as spool_module
from footfall.producers.spool import Spool, SpoolError, current_spool
from footfall.producers.tail import journals, read_slice, writer_is_gone

LINE = b'{"unit":"01a1f980-5998-7913-9ed3-2d0f16c9371c"}'

#: Newer Pythons warn of every fork in a process with threads; forking servers do it all the same.
FORKING = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(directory: Path) -> Iterator[Spool]:
    made = Spool(directory, site="newsroom")
    yield made
    made.close()


def lines_in(directory: Path) -> list[bytes]:
    slices = [read_slice(path, 0, max_lines=10**6, max_bytes=10**8) for path in journals(directory)]
    return [line for piece in slices if piece for _, line in piece.lines]


def test_an_accepted_line_is_a_line_of_a_locked_journal(spool: Spool, directory: Path) -> None:
    assert spool.append(LINE)
    assert spool.append(LINE)

    [journal] = journals(directory)
    assert journal.read_bytes() == LINE + b"\n" + LINE + b"\n"
    assert not writer_is_gone(journal)
    spool.close()
    assert writer_is_gone(journal)


def test_making_a_spool_touches_no_disk(directory: Path) -> None:
    Spool(directory, site="newsroom")

    assert not directory.exists()


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=["open", "tight"])
def test_permissions_are_fixed_whatever_the_umask(directory: Path, umask: int) -> None:
    spool = Spool(directory, site="newsroom", mode=0o770)
    before = os.umask(umask)
    try:
        spool.append(LINE)
    finally:
        os.umask(before)
        spool.close()

    assert directory.stat().st_mode & 0o777 == 0o770
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o660}


def test_another_sites_stamp_is_refused_and_its_lines_are_dropped_loudly(
    spool: Spool, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool.append(LINE)
    foreign = Spool(directory, site="shop")

    with pytest.raises(SpoolError, match="stamped with the site 'newsroom', not 'shop'"):
        foreign.open()
    assert not foreign.append(LINE)

    assert foreign.dropped_units == 1
    assert len(lines_in(directory)) == 1
    assert "stamped with the site" in caplog.text


def test_of_two_sites_that_stamp_at_once_one_wins(directory: Path) -> None:
    spools = [Spool(directory, site=f"site-{number}") for number in range(8)]
    directory.mkdir()
    threads = [threading.Thread(target=spool.append, args=(LINE,)) for spool in spools]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(spool.dropped_units for spool in spools) == [0] + [1] * 7
    for spool in spools:
        spool.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_another_users_directory_is_refused_unless_the_mode_shares_it_with_a_group(directory: Path) -> None:
    directory.mkdir()
    os.chown(directory, 12345, -1)

    with pytest.raises(SpoolError, match="belongs to user 12345"):
        Spool(directory, site="newsroom").open()
    Spool(directory, site="newsroom", mode=0o770).open()


def test_a_place_that_cant_be_a_directory_is_a_spool_error_and_a_drop(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    spool = Spool(file / "spool", site="newsroom")

    with pytest.raises(SpoolError, match="can't be used"):
        spool.open()
    assert not spool.append(LINE)


def test_over_its_quota_it_drops_with_one_error_lets_its_journal_go_and_recovers(
    directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "LOOK_SECONDS", 0.0)
    spool = Spool(directory, site="newsroom", quota_bytes=200)
    accepted = [spool.append(LINE) for _ in range(10)]

    assert accepted == [True] * 3 + [False] * 7
    assert spool.dropped_units == 7
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "over its quota" in caplog.text
    [journal] = journals(directory)
    assert writer_is_gone(journal)

    journal.unlink()
    assert spool.append(LINE)
    assert "accepts again, after 7 units" in caplog.text
    spool.close()


def test_a_journal_that_has_its_size_is_followed_by_another(directory: Path) -> None:
    spool = Spool(directory, site="newsroom", journal_max_bytes=len(LINE) * 2)
    for _ in range(5):
        assert spool.append(LINE)

    assert [writer_is_gone(path) for path in journals(directory)] == [True, True, False]
    assert lines_in(directory) == [LINE] * 5
    spool.close()


def test_a_newline_within_a_line_doesnt_end_it(spool: Spool, directory: Path) -> None:
    spool.append(b'{"a":\n1}')

    assert lines_in(directory) == [b'{"a": 1}']


def test_with_fsync_lines_are_accepted_too(directory: Path) -> None:
    spool = Spool(directory, site="newsroom", fsync=True)

    assert spool.append(LINE)
    assert lines_in(directory) == [LINE]
    spool.close()


def test_a_journal_deleted_under_its_writer_is_reported_and_replaced(
    spool: Spool, directory: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "LOOK_SECONDS", 0.0)
    spool.append(LINE)
    journals(directory)[0].unlink()

    assert spool.append(LINE)
    assert "was deleted under its writer" in caplog.text
    assert lines_in(directory) == [LINE]


def test_what_a_writer_left_unnamed_is_cleared_away(directory: Path) -> None:
    directory.mkdir()
    stale, young = directory / "a.young", directory / "b.young"
    stale.touch()
    young.touch()
    os.utime(stale, (0, 0))
    spool = Spool(directory, site="newsroom")
    spool.append(LINE)

    assert not stale.exists()
    assert young.exists()
    spool.close()


def test_threads_share_a_journal_and_no_line_is_broken(spool: Spool, directory: Path) -> None:
    texts = [[f'{{"thread":{thread},"line":{line}}}'.encode() for line in range(200)] for thread in range(8)]

    def write(lines: list[bytes]) -> None:
        assert all(map(spool.append, lines))

    threads = [threading.Thread(target=write, args=(lines,)) for lines in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(lines_in(directory)) == sorted(line for lines in texts for line in lines)


def test_a_signal_handler_may_publish_in_the_middle_of_an_append(spool: Spool, directory: Path) -> None:
    before = signal.signal(signal.SIGALRM, lambda *_: spool.append(b"handler") and None)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0005)
    try:
        for _ in range(20_000):
            assert spool.append(b"main")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    lines = lines_in(directory)
    assert lines.count(b"main") == 20_000
    assert set(lines) == {b"main", b"handler"}


@FORKING
def test_a_forked_child_writes_a_journal_of_its_own_and_doesnt_hold_the_parents(spool: Spool, directory: Path) -> None:
    spool.append(b"parent")
    [journal] = journals(directory)
    told, tell = os.pipe()
    stay, end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        accepted = spool.append(b"child")
        os.write(tell, b"1" if accepted else b"0")
        os.read(stay, 1)
        os._exit(0)
    os.close(stay)
    assert os.read(told, 1) == b"1"

    assert spool.append(b"parent")
    assert sorted(lines_in(directory)) == [b"child", b"parent", b"parent"]
    spool.close()
    assert writer_is_gone(journal), "the child must not keep the parent's journal alive"
    [childs] = [path for path in journals(directory) if path != journal]
    assert not writer_is_gone(childs)

    os.close(end)
    os.waitpid(child, 0)
    assert writer_is_gone(childs)
    os.close(told)
    os.close(tell)


@FORKING
def test_forks_between_appends_of_other_threads_dont_hang(spool: Spool, directory: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            spool.append(LINE)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os._exit(0 if spool.append(LINE) else 1)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    for thread in threads:
        thread.join()

    assert codes == [0] * 20
    assert set(lines_in(directory)) == {LINE}


FULL_DISK = """
import resource, sys
from django.conf import settings
settings.configure()
from footfall.producers.spool import Spool
spool = Spool(sys.argv[1], site="newsroom")
assert spool.append(b"before")
resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))
assert not spool.append(b"x" * 50)
assert not spool.append(b"y" * 50)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert spool.append(b"after")
assert spool.dropped_units == 2
"""


def test_after_a_short_write_on_a_full_disk_the_next_line_is_whole(directory: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(directory)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    [journal] = journals(directory)
    assert journal.read_bytes() == b"before\n" + b"x" * 13 + b"\nafter\n"


def test_the_current_spool_follows_the_settings(tmp_path: Path) -> None:
    with override_settings(FOOTFALL={"SPOOL_DIR": tmp_path / "one", "SITE": "one"}):
        first = current_spool()
        assert current_spool() is first
        first.append(LINE)
    with override_settings(FOOTFALL={"SPOOL_DIR": tmp_path / "two", "SITE": "two", "SPOOL_QUOTA_BYTES": 5}):
        second = current_spool()
        assert second is not first
        assert (second.directory, second.site, second.quota_bytes) == (tmp_path / "two", "two", 5)

    assert writer_is_gone(journals(tmp_path / "one")[0])


def test_a_journal_is_locked_before_it_has_its_name(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    flock = fcntl.flock

    def look(fd: int, operation: int) -> None:
        flock(fd, operation)
        seen.append([path.suffix for path in directory.iterdir() if path.name != "SITE"])

    monkeypatch.setattr(fcntl, "flock", look)
    spool = Spool(directory, site="newsroom")
    spool.append(LINE)

    assert seen == [[".young"]]
    spool.close()
