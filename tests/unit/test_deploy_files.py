"""What the files in deploy/ say, checked without a server."""

import base64
import configparser
import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
QUEUES = ("footfall.views", "footfall.increments", "footfall.actions", "footfall.quarantine")
WORKERS = {f"worker-{queue.partition('.')[2]}": queue for queue in QUEUES}
PROGRAMS = ("web", "shipper", *WORKERS)
VARIABLES = {"BIN", "BIND", "LOG_DIR", "SITE_DIR", "WSGI"}


@pytest.fixture(scope="module")
def definitions() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((DEPLOY / "rabbitmq" / "definitions.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def stack() -> ModuleType:
    spec = importlib.util.spec_from_file_location("stack_from_path", DEPLOY / "stack.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def supervisord_file(name: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=True)
    parser.read_string((DEPLOY / "supervisord" / name).read_text())
    return parser


@pytest.fixture(scope="module")
def programs() -> configparser.RawConfigParser:
    return supervisord_file("footfall.conf")


# -- Broker definitions


def queue_arguments(definitions: dict[str, Any], name: str) -> dict[str, Any]:
    [queue] = [queue for queue in definitions["queues"] if queue["name"] == name]
    arguments: dict[str, Any] = queue["arguments"]
    return arguments


def test_the_definitions_hold_footfalls_durable_queues_and_nothing_else(definitions: dict[str, Any]) -> None:
    assert [vhost["name"] for vhost in definitions["vhosts"]] == ["footfall"]
    assert sorted(queue["name"] for queue in definitions["queues"]) == sorted(QUEUES)
    for queue in definitions["queues"]:
        assert (queue["vhost"], queue["durable"], queue["auto_delete"]) == ("footfall", True, False)
    assert "policies" not in definitions, "limits stand in queue arguments only"


@pytest.mark.parametrize("name", QUEUES)
def test_every_queue_is_a_quorum_queue_that_refuses_what_it_can_not_keep(
    definitions: dict[str, Any], name: str
) -> None:
    arguments = queue_arguments(definitions, name)

    assert arguments["x-queue-type"] == "quorum"
    assert arguments["x-overflow"] == "reject-publish"


@pytest.mark.parametrize("name", QUEUES[:3])
def test_a_delivery_over_the_limit_goes_to_quarantine_at_least_once(definitions: dict[str, Any], name: str) -> None:
    arguments = queue_arguments(definitions, name)

    assert arguments["x-delivery-limit"] == 5
    assert arguments["x-dead-letter-exchange"] == ""
    assert arguments["x-dead-letter-routing-key"] == "footfall.quarantine"
    assert arguments["x-dead-letter-strategy"] == "at-least-once"


def test_nothing_leaves_the_quarantine_queue_by_itself(definitions: dict[str, Any]) -> None:
    arguments = queue_arguments(definitions, "footfall.quarantine")

    assert set(arguments) == {"x-queue-type", "x-overflow", "x-single-active-consumer"}


@pytest.mark.parametrize(
    ("name", "single"),
    [
        ("footfall.views", False),
        ("footfall.increments", False),
        ("footfall.actions", True),
        ("footfall.quarantine", True),
    ],
)
def test_actions_and_quarantine_have_a_single_active_consumer(
    definitions: dict[str, Any], name: str, single: bool
) -> None:
    assert queue_arguments(definitions, name).get("x-single-active-consumer", False) is single


@pytest.mark.parametrize(
    ("user", "readable"), [("footfall_web", []), ("footfall_worker", list(QUEUES))], ids=["web", "worker"]
)
def test_a_sites_users_configure_nothing_and_write_to_the_default_exchange_only(
    definitions: dict[str, Any], user: str, readable: list[str]
) -> None:
    [rights] = [entry for entry in definitions["permissions"] if entry["user"] == user]

    for resource in (*QUEUES, "amq.default", "amq.topic", "else"):
        assert not re.search(rights["configure"], resource)
        assert bool(re.search(rights["write"], resource)) is (resource == "amq.default")
        assert bool(re.search(rights["read"], resource)) is (resource in readable)


def test_the_password_hashes_are_those_of_the_throw_away_passwords(
    definitions: dict[str, Any], stack: ModuleType
) -> None:
    assert {user["name"] for user in definitions["users"]} == {
        "footfall_web",
        "footfall_worker",
        "footfall_admin",
    }
    for user in definitions["users"]:
        salted = base64.b64decode(user["password_hash"])
        password = stack.password_of(user["name"]).encode()
        assert hashlib.sha256(salted[:4] + password).digest() == salted[4:]


# -- supervisord


def test_the_programs_are_the_site_the_shipper_and_a_worker_for_each_queue(
    programs: configparser.RawConfigParser,
) -> None:
    assert programs.sections() == ["group:footfall", *(f"program:{name}" for name in PROGRAMS)]
    assert programs["group:footfall"]["programs"].split(",") == list(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_gets_one_term_and_is_restarted_for_ever(programs: configparser.RawConfigParser, name: str) -> None:
    program = programs[f"program:{name}"]

    assert program["stopsignal"] == "TERM"
    assert program["stopasgroup"] == "false"
    assert program["killasgroup"] == "true"
    assert program["autorestart"] == "true"
    assert int(program["startretries"]) >= 1_000_000


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_programs_log_rotates(programs: configparser.RawConfigParser, name: str) -> None:
    program = programs[f"program:{name}"]

    assert program["redirect_stderr"] == "true"
    assert program["stdout_logfile"] == f"%(ENV_FOOTFALL_LOG_DIR)s/{name}.log"
    assert program["stdout_logfile_maxbytes"] == "10MB"
    assert int(program["stdout_logfile_backups"]) > 0


@pytest.mark.parametrize(("name", "queue"), WORKERS.items(), ids=list(WORKERS))
def test_a_worker_has_one_thread_one_queue_and_the_time_to_finish(
    programs: configparser.RawConfigParser, name: str, queue: str
) -> None:
    program = programs[f"program:{name}"]
    words = program["command"].split()
    options = dict(zip(words[3::2], words[4::2], strict=True))

    assert words[1:3] == ["manage.py", "rundramatiq"]
    assert options["--queues"] == queue
    assert (options["--processes"], options["--threads"]) == ("1", "1")
    assert int(program["stopwaitsecs"]) > 2 * int(options["--worker-shutdown-timeout"]) / 1000


def test_the_variables_in_use_are_the_documented_ones() -> None:
    text = "".join(path.read_text() for path in (DEPLOY / "supervisord").glob("*.conf"))
    readme = (DEPLOY / "README.md").read_text()

    used = set(re.findall(r"%\(ENV_FOOTFALL_(\w+)\)s", text))

    assert used == VARIABLES | {"RUN_DIR"}
    assert all(f"`FOOTFALL_{name}`" in readme for name in used)


def test_an_included_file_needs_only_what_its_programs_need() -> None:
    text = (DEPLOY / "supervisord" / "footfall.conf").read_text()

    assert set(re.findall(r"%\(ENV_FOOTFALL_(\w+)\)s", text)) == VARIABLES


def test_supervisord_listens_on_a_private_unix_socket_only() -> None:
    whole = supervisord_file("supervisord.conf")

    assert "inet_http_server" not in whole
    assert whole["unix_http_server"]["chmod"] == "0700"
    assert whole["include"]["files"] == "footfall.conf"


# -- The stack script's command line


def test_ports_are_free_distinct_and_below_those_of_outgoing_connections(stack: ModuleType) -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    ports = stack.free_ports(4)

    assert len(set(ports)) == 4
    assert all(port < max(lowest, 12_000) for port in ports)


def test_status_of_an_unused_directory_is_a_failure(stack: ModuleType, tmp_path: Path) -> None:
    assert stack.main(["status", "--dir", str(tmp_path)]) == 1


def test_env_of_an_unused_directory_says_so(
    stack: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stack.main(["env", "--dir", str(tmp_path)]) == 1
    assert "nothing was started" in capsys.readouterr().err


def test_stop_in_an_unused_directory_is_no_error(stack: ModuleType, tmp_path: Path) -> None:
    assert stack.main(["stop", "--dir", str(tmp_path)]) == 0


@pytest.mark.parametrize("attribute", ["url", "port", "pid"])
def test_a_server_that_was_never_started_has_no_address(stack: ModuleType, tmp_path: Path, attribute: str) -> None:
    with pytest.raises(stack.StackError, match="was not started"):
        getattr(stack.RabbitMQ(tmp_path), attribute)
