"""Killing everything that can be killed, in any order, while visitors keep clicking."""

import os
import random
import time
from collections.abc import Callable

from faults.demosite import DemoSite, clicking
from faults.supervised import WORKERS

ROUNDS = int(os.environ.get("FOOTFALL_FAULT_ROUNDS") or 1)

#: Between two faults, in seconds: so short that some hit a system that has not recovered from the last.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.5, 3.0

#: How often the master of a worker is killed instead of the process that does the work.
MASTERS_SHARE = 0.25

Fault = tuple[str, Callable[[], object]]


def test_every_event_of_an_answered_view_is_applied_exactly_once(demo: DemoSite) -> None:
    seed = int(os.environ.get("FOOTFALL_FAULT_SEED") or random.SystemRandom().randrange(10**6))
    chance = random.Random(seed)
    print(f"FOOTFALL_FAULT_SEED={seed} FOOTFALL_FAULT_ROUNDS={ROUNDS}")

    with clicking(demo.visitors(seed)) as log:
        time.sleep(2)
        commit_all(faults(demo, chance), chance)
        time.sleep(2)

    assert log.answered > 100 * ROUNDS, "hardly anybody was served"
    demo.assert_exact(log)


def faults(demo: DemoSite, chance: random.Random) -> list[Fault]:
    """Every fault ``ROUNDS`` times, in random order."""
    kinds: list[Fault] = [
        ("kill -9 of the shipper", lambda: demo.kill("shipper")),
        ("kill -9 of a gunicorn worker", lambda: demo.kill_child("web")),
        ("kill -9 of RabbitMQ", lambda: kill_broker(demo, chance)),
        ("immediate restart of PostgreSQL", lambda: demo.servers.postgresql.restart("immediate")),
    ]
    chosen = [kind for kind in kinds for _ in range(ROUNDS)]
    chosen += [worker_fault(demo, worker, chance) for worker in WORKERS for _ in range(ROUNDS)]
    chance.shuffle(chosen)
    return chosen


def worker_fault(demo: DemoSite, worker: str, chance: random.Random) -> Fault:
    if chance.random() < MASTERS_SHARE:
        return f"kill -9 of the master of {worker}", lambda: demo.kill(worker)
    return f"kill -9 of {worker}", lambda: demo.kill_worker(worker)


def kill_broker(demo: DemoSite, chance: random.Random) -> None:
    demo.servers.rabbitmq.kill()
    time.sleep(chance.uniform(0, LONGEST_PAUSE))
    demo.servers.rabbitmq.start()


def commit_all(faults: list[Fault], chance: random.Random) -> None:
    started = time.monotonic()
    for name, commit in faults:
        began = time.monotonic()
        result = commit()
        about = f"pid {result}" if isinstance(result, int) else f"{time.monotonic() - began:.1f} s"
        print(f"{began - started:7.1f} s  {name} ({about})", flush=True)
        time.sleep(chance.uniform(SHORTEST_PAUSE, LONGEST_PAUSE))
