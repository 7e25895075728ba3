"""A real Ray cluster on this machine, and work that fails; Ray's workers import this too."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np

HELPERS = Path(__file__).parent
MEMORY = 100_000_000


def start(monkeypatch_env):
    """A cluster of three nodes with a core each; the first one is the head."""
    from ray.cluster_utils import Cluster

    monkeypatch_env("PYTHONPATH", os.pathsep.join([str(HELPERS / "ray_start"), str(HELPERS)]))
    monkeypatch_env("RAY_agent_register_timeout_ms", "120000")
    node = {"num_cpus": 1, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    add(cluster)
    add(cluster)
    monkeypatch_env("RAY_ADDRESS", cluster.address)
    return cluster


def add(cluster, **options):
    return cluster.add_node(num_cpus=1, object_store_memory=MEMORY, **options)


def send_in_flight(pool, number, count=1):
    """Send a signal to workers that are in the middle of a block; returns the thread."""

    def watch():
        sent = set()
        while len(sent) < count:
            for flight in list(pool._scheduler.flights.values()):
                facts = pool.crew.ready.get(flight.worker)
                if facts is not None and facts["pid"] not in sent and len(sent) < count:
                    sent.add(facts["pid"])
                    os.kill(facts["pid"], number)
            time.sleep(0.001)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _first(directory):
    """Whether this is the first call of all processes."""
    try:
        (directory / "called").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def nan_once(x, directory):
    return np.full(len(x), np.nan) if _first(directory) else x * 2


def short_once(x, directory):
    return x[:-1] if _first(directory) else x * 2


def die_once(x, directory):
    if _first(directory):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 2


def stop_once(x, directory):
    if _first(directory):
        os.kill(os.getpid(), signal.SIGSTOP)
    return x * 2


def nan_always(x, directory):
    return np.where(x > 0, x, np.nan)


FAULTS = nan_once, short_once, die_once, stop_once, nan_always
for fault in FAULTS:
    fault.shape_of = lambda x, directory: x.shape
