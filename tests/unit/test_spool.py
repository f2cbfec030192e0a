"""The spool's writer: what is accepted is in the file, what isn't is dropped loudly, and nothing raises."""

import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from django.test import override_settings

from footfall.producers import spool as spool_module
from footfall.producers.shipper import Shipper
from footfall.producers.slices import Message
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


def test_another_users_directory_is_refused_unless_its_group_may_use_it(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own permissions count, not our setting: that only speaks of directories that are ours."""
    directory.mkdir()
    owner = directory.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(SpoolError, match=f"belongs to user {owner}"):
        Spool(directory, site="newsroom", mode=0o770).open()
    directory.chmod(0o770)
    Spool(directory, site="newsroom").open()
    assert directory.stat().st_mode & 0o777 == 0o770


def test_a_spool_that_is_opened_to_a_group_opens_what_it_holds_already(directory: Path) -> None:
    closed = Spool(directory, site="newsroom")
    closed.append(LINE)
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    (directory / "folder").mkdir(mode=0o700)

    Spool(directory, site="newsroom", mode=0o770).open()

    files = [path.stat() for path in directory.iterdir() if path.is_file()]
    assert [(found.st_mode & 0o777, found.st_gid) for found in files] == [(0o660, directory.stat().st_gid)] * 2
    assert (directory / "folder").stat().st_mode & 0o777 == 0o700
    closed.close()


#: Users with a group of their own each and SHARED besides. Who isn't root has only himself to try it with.
WWW, CRON, STRANGER = 54_321, 54_322, 54_323
SHARED = 54_320 if os.geteuid() == 0 else os.getegid()


class Taken:
    """A publisher that confirms everything."""

    def publish(self, messages: Sequence[Message]) -> None:
        pass

    def idle(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass

    def abandon(self) -> None:
        pass


def done_by(user: int, groups: list[int], work: Callable[[], object]) -> str:
    """What ``work`` returns or raises, as text, in a child that is ``user``; or ourselves, where we aren't root."""
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0 and user:
                os.setgroups(groups)
                os.setgid(user)
                os.setuid(user)
            os.umask(0o022)
            signal.alarm(10)
            os.write(tell, str(work()).encode())
        except BaseException as error:
            os.write(tell, repr(error).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(hear) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


def publish_into(directory: Path) -> tuple[bool, int]:
    spool = Spool(directory, site="newsroom", mode=0o770)
    return spool.append(LINE), spool.dropped_units


def ship_from(directory: Path) -> tuple[int, bool]:
    shipper = Shipper(directory, Taken())
    shipper.run(threading.Event(), until_empty=True)
    return shipper.shipped_units, shipper.is_empty()


@pytest.fixture
def shared_directory() -> Iterator[Path]:
    """A spool's directory of www and the shared group, where others than its owner get to."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        directory = Path(place) / "spool"
        directory.mkdir()
        directory.chmod(0o770)
        if os.geteuid() == 0:
            os.chown(directory, WWW, SHARED)
        yield directory


def access(directory: Path) -> set[tuple[int, int]]:
    """Group and permissions of the files in ``directory``."""
    found = [path.stat() for path in directory.iterdir()]
    return {(file.st_gid, file.st_mode & 0o777) for file in found}


@FORKING
@pytest.mark.parametrize(("first", "second"), [(WWW, CRON), (CRON, WWW)], ids=["owner first", "owner second"])
def test_two_users_of_a_group_publish_into_one_spool_and_ship_what_the_other_published(
    first: int, second: int, shared_directory: Path
) -> None:
    for writer, shipper in [(first, second), (second, first)]:
        assert done_by(writer, [SHARED], lambda: publish_into(shared_directory)) == "(True, 0)"
        assert access(shared_directory) == {(SHARED, 0o660)}
        assert done_by(shipper, [SHARED], lambda: ship_from(shared_directory)) == "(1, True)"
        assert journals(shared_directory) == []

    assert {path.name for path in shared_directory.iterdir()} == {"SITE", ".shipper.lock"}
    assert access(shared_directory) == {(SHARED, 0o660)}


@FORKING
@pytest.mark.parametrize("users", [(WWW, CRON), (CRON, WWW)], ids=["owner first", "owner second"])
def test_a_shipper_goes_on_where_another_user_of_the_group_stopped(
    users: tuple[int, int], shared_directory: Path
) -> None:
    """The writer lives on, so that the journal and its position stay; it is root where we are."""
    writer = Spool(shared_directory, site="newsroom", mode=0o770)
    for user in users:
        assert writer.append(LINE)
        assert done_by(user, [SHARED], lambda: ship_from(shared_directory)) == "(1, True)"
        assert {path.suffix for path in shared_directory.iterdir()} == {"", ".lock", ".journal", ".offset"}
        assert access(shared_directory) == {(SHARED, 0o660)}
    writer.close()


@FORKING
@pytest.mark.parametrize("root_is_first", [True, False])
def test_what_root_publishes_is_read_by_the_spools_owner_who_isnt_hindered(
    root_is_first: bool, shared_directory: Path
) -> None:
    """Also where the owner is not in the group: a cron job of root's, a group that was given for root's sake."""
    users = (0, WWW) if root_is_first else (WWW, 0)
    if os.geteuid() == 0:
        os.chown(shared_directory, WWW, WWW)
    owner = shared_directory.stat().st_uid
    for user in users:
        assert done_by(user, [], lambda: publish_into(shared_directory)) == "(True, 0)"
        assert done_by(user, [], lambda: ship_from(shared_directory)) == "(1, True)"
    assert done_by(0, [], lambda: publish_into(shared_directory)) == "(True, 0)"

    assert {path.stat().st_uid for path in shared_directory.iterdir()} == {owner}
    assert done_by(WWW, [], lambda: (len(lines_in(shared_directory)), ship_from(shared_directory))) == "(1, (1, True))"


@FORKING
def test_who_may_not_give_a_journal_to_the_group_isnt_told_that_it_was_accepted(shared_directory: Path) -> None:
    """Everybody may write here, and only members of the group may give files to it."""
    Spool(shared_directory, site="newsroom", mode=0o777).open()
    shared_directory.chmod(0o777)
    (shared_directory / "SITE").chmod(0o666)
    told = done_by(STRANGER, [], lambda: publish_into(shared_directory))

    assert told == ("(False, 1)" if os.geteuid() == 0 else "(True, 0)")
    assert len(journals(shared_directory)) == told.count("True")
    assert {group for group, _ in access(shared_directory)} == {SHARED}


def test_a_journal_that_cant_be_shared_is_dropped_with_advice(
    directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool(directory, site="newsroom", mode=0o770)
    spool.open()
    directory_group = directory.stat().st_gid
    fstat = os.fstat

    def in_another_group(fd: int) -> os.stat_result:
        found = list(fstat(fd))
        found[5] = directory_group + 1
        return os.stat_result(found)

    def refuse(fd: int, user: int, group: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fstat", in_another_group)
    monkeypatch.setattr(os, "fchown", refuse)

    assert not spool.append(LINE)
    assert f"group {directory_group}'s, and ours can't be (Operation not permitted). Join that group" in caplog.text
    assert [path.name for path in directory.iterdir()] == ["SITE"]


def test_a_directory_of_one_user_may_have_a_group_that_isnt_his(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one made in a directory with the setgid bit has."""
    monkeypatch.delattr(os, "fchown")
    directory.mkdir()
    if os.geteuid() == 0:
        os.chown(directory, -1, SHARED)
    spool = Spool(directory, site="newsroom")

    assert spool.append(LINE)
    assert access(directory) == {(os.getegid(), 0o600)}
    spool.close()


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
    busy = False

    def handler(*_: object) -> None:
        nonlocal busy
        if not busy:  # on a slow machine alarms come faster than they are answered
            busy = True
            spool.append(b"handler")
            busy = False

    before = signal.signal(signal.SIGALRM, handler)
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
