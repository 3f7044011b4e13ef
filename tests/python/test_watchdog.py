"""A stuck worker or a hanging load is noticed, shown and survived, and signals are always heard."""

import json
import re
import signal
import time

import pytest

from evergreen_testing.model_repository import bundle, put
from evergreen_testing.processes import until, until_logged
from evergreen_testing.server_process import Instance
from evergreen_testing.shutdown import many_customers

TWO_WORKERS = {"TOKIO_WORKER_THREADS": "2"}


def metric(instance, pattern):
    """Returns the number of the first metric whose line matches `pattern`."""
    found = re.search(rf"^{pattern} (\S+)$", instance.ask("/metrics")[1], re.MULTILINE)
    return float(found.group(1)) if found else None


def test_a_stuck_worker_fails_liveness_until_it_goes_on(evergreen, tmp_path):
    with Instance(evergreen, tmp_path) as instance:
        instance.start(BLOCK_WORKERS="1:12", **TWO_WORKERS)
        until(lambda: "worker threads are stuck" in instance.log.read_text())
        _, text = until(lambda: (answer := instance.ask("/livez"))[0] == 503 and answer)
        body = json.loads(text)
        assert not body["live"] and re.match(r"worker \d has been in one task for \d+ s", body["reasons"][0])
        stuck = [
            metric(instance, rf'evergreen_worker_stuck_seconds{{worker="{number}"}}') for number in (0, 1)
        ]
        assert max(stuck) >= 1
        # The other worker answers.
        assert instance.ask("/v1/models/churn/scores/C-1042", port="http")[0] == 200
        until(lambda: instance.ask("/livez")[0] == 200)
        until(lambda: "worker threads work again" in instance.log.read_text())
        assert instance.stop()[0] == 0


def test_a_server_whose_workers_are_all_stuck_ends_itself(evergreen, tmp_path):
    with Instance(evergreen, tmp_path) as instance:
        instance.start(wait=False, BLOCK_WORKERS="2:120", **TWO_WORKERS)
        until(lambda: instance.ask("/livez")[0] == 503)
        code, _ = instance.wait(seconds=110)
        assert code == 4 and "all worker threads are stuck" in instance.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_sigterm_is_heard_when_all_workers_are_stuck(evergreen, tmp_path, workers):
    config = "[server]\ndrain_seconds = 1\ngrace_seconds = 1\n"
    with Instance(evergreen, tmp_path, config=config) as instance:
        instance.start(wait=False, BLOCK_WORKERS=f"{workers}:120", TOKIO_WORKER_THREADS=workers)
        until(lambda: "worker threads are stuck" in instance.log.read_text())
        instance.terminate()
        code, seconds = instance.wait(seconds=90)
        # Without the last resort it would take until the watchdog gives up, and end with 4.
        assert code == 3 and seconds < 60, instance.log.read_text()


def test_a_load_that_takes_too_long_is_given_up(evergreen, tmp_path):
    config = "[models]\npoll_seconds = 0.2\nload_seconds = 1\n[features]\nwatch = { seconds = 0.2 }\n"
    customers = tmp_path / "customers.csv"
    many_customers(tmp_path, 1).rename(customers)
    models = tmp_path / "models"
    models.mkdir()
    put(bundle(tmp_path / "new"), models, 1)
    with Instance(evergreen, tmp_path, config=config, models=models, customers=customers) as instance:
        instance.start()
        many_customers(tmp_path, 300_000).rename(customers)
        until(lambda: metric(instance, "evergreen_loads_given_up_total"), seconds=90)
        until_logged(instance.log, "load given up, its thread is left behind", "reading the snapshot")
        assert instance.ask("/v1/models/churn/scores/C-1042-0", port="http")[0] == 200
        # The lifecycle goes on with other work, and takes another limit.
        instance.config.write_text(config.replace("load_seconds = 1", "load_seconds = 60"))
        instance.terminate(signal.SIGHUP)
        until(lambda: "settings reloaded" in instance.log.read_text())
        put(bundle(tmp_path / "new"), models, 2)
        until(lambda: json.loads(instance.ask("/v1/models/churn")[1])["live"]["version"] == 2)
        assert instance.reasons() == (200, [])
        assert instance.stop()[0] == 0


def test_idle_threads_are_shown_and_not_late(evergreen, tmp_path):
    with Instance(evergreen, tmp_path) as instance:
        instance.start()
        time.sleep(1)
        assert metric(instance, 'evergreen_thread_busy_seconds{thread="lifecycle"}') is not None
        assert metric(instance, "evergreen_runtime_tick_age_seconds") is not None
        assert instance.reasons() == (200, [])
