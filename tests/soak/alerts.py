"""Every alert fires against running servers and clears again, as a real Prometheus sees it.

    cargo build --features full
    python tests/soak/alerts.py --binary target/debug/evergreen

Prometheus has the rules of k8s/components/prometheus-operator with all windows and waiting times divided by 240: an
hour is 15 seconds. Takes about seven minutes. `prometheus`, `redis-server` and a C compiler must be installed. The
binary must be a debug build: only that can be told to block a worker.
"""

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/python"))

from evergreen_testing import clock
from evergreen_testing.certificates import Authority
from evergreen_testing.feature_stores import Proxy, redis_server
from evergreen_testing.judged_scores import JudgedServer
from evergreen_testing.model_repository import bundle, put
from evergreen_testing.paths import CUSTOMERS
from evergreen_testing.prometheus import prometheus, rules
from evergreen_testing.sample_customers import IDS, fill
from evergreen_testing.server_process import Instance

PACE = 240
FAST = "[models]\npoll_seconds = 0.3\n[features.watch]\nseconds = 0.3\n"
FRAME = pd.read_parquet(CUSTOMERS)


def place(frame, path):
    """Replaces a snapshot in one step."""
    frame.to_parquet(path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


class Silent(Instance):
    """A server whose log nobody reads."""

    def start_unread(self):
        reader, writer = os.pipe()
        command = [self.binary, "serve", "--config", str(self.config), "--models", str(self.models)]
        command += ["--customers", str(self.customers)]
        for port, number in self.ports.items():
            command += [f"--{port}", f"127.0.0.1:{number}"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=writer, cwd=self.folder)
        os.close(writer)
        self.reader = reader
        self.until_ready()


class Scenario:
    """The alerts that have fired and cleared, and a thread that keeps requests coming."""

    def __init__(self, watching):
        self.watching, self.fired, self.cleared = watching, {}, {}
        self.start = time.monotonic()

    def until_fires(self, *names, seconds=90, also=lambda: None):
        """Waits until all these alerts fire; calls `also` meanwhile."""
        self.until(lambda firing: set(names) <= firing, names, "fire", seconds, also)
        self.fired |= {name: time.monotonic() - self.start for name in names}

    def until_clears(self, *names, seconds=200, also=lambda: None):
        self.until(lambda firing: not set(names) & firing, names, "clear", seconds, also)
        self.cleared |= {name: time.monotonic() - self.start for name in names}

    def until(self, done, names, what, seconds, also):
        end = time.monotonic() + seconds
        while not done(firing := self.watching.firing()):
            assert time.monotonic() < end, f"{', '.join(names)} did not {what}; firing: {sorted(firing)}"
            also()
            time.sleep(0.2)
        print(f"{time.monotonic() - self.start:6.1f} s  {', '.join(names)}: {what}s", flush=True)


def score_all(instance):
    """Scores every customer of the sample."""
    for first in range(0, len(IDS), 500):
        entities = ",".join(f'{{"id":"{id}"}}' for id in IDS[first : first + 500])
        instance.ask(
            "/v1/score", port="http", method="POST", body=f'{{"model":"churn","entities":[{entities}]}}'
        )


def hold_memory(instance, held):
    """Opens a connection that sends most of a body and keeps it. While memory is short, the server waits for two
    seconds only, so this is to be repeated."""
    connection = socket.create_connection(("127.0.0.1", instance.ports["http"]))
    head = "POST /v1/score HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4194304\r\n\r\n"
    # The server may refuse it.
    with contextlib.suppress(OSError):
        connection.sendall(head.encode() + b" " * 4_000_000)
    held.append(connection)


def run(binary, work):
    authority = Authority(work)
    customers = work / "customers.parquet"
    place(FRAME, customers)
    models = work / "models"
    put(bundle(work / "v1"), models, 1)
    # Without a drift alert that never ends: the sample's own customers have drifted.
    log = f"[prediction_log]\nlocation = '{work}/log'\nsample = 1.0\nrow_group_bytes = 65536\nqueue_bytes = 65536\n"
    main = Instance(binary, work, "main", f"{FAST}{log}[limits]\nmemory = 17000000\n", models, customers)
    young = Instance(binary, work, "young", FAST, work / "young", CUSTOMERS)
    (work / "young").mkdir()
    certificate, key = authority.issue(days=10)
    tls = f"[server]\npoll_seconds = 0.2\n[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n"
    secured = Instance(binary, work, "secured", tls)
    full = f"[outcomes]\nfolder = '{work}/outcomes'\nfolder_bytes = 1\n"
    silent = Silent(binary, work, "silent", f"[log]\nlevel = 'debug'\n{full}")
    blocked = Instance(binary, work, "blocked")
    judged = JudgedServer(binary, work)
    servers = [main, young, secured, silent, blocked, judged]
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(redis_server(work / "redis"))
        import redis

        fill(redis.Redis(port=store.port))
        between = Proxy(store.port)
        source = "[source.online]\ntimeout = '500ms'\n[source.online.redis]\nkey = 'customer:{id}'\n"
        online = Instance(
            binary,
            work,
            "online",
            f"{source}[source.online.redis.server]\nurls = ['redis://127.0.0.1:{between.port}']\n",
            customers=None,
        )
        servers.append(online)
        for server in servers:
            stack.enter_context(server)
        # Results are known months after a score.
        judged.score_long_ago(clock.build(work), IDS)
        targets = [f"127.0.0.1:{server.ports['ops']}" for server in servers]
        main.start()
        online.start()
        watching = stack.enter_context(prometheus(work, targets, PACE))
        scenario = Scenario(watching)
        story(
            scenario,
            main,
            young,
            secured,
            silent,
            blocked,
            judged,
            online,
            store,
            between,
            authority,
            work,
            customers,
        )
    names = {rule["alert"] for group in rules()["groups"] for rule in group["rules"] if "alert" in rule}
    missing = names - scenario.fired.keys(), names - scenario.cleared.keys()
    print(
        f"{len(scenario.fired)} of {len(names)} alerts fired, {len(scenario.cleared)} cleared; missing: {missing}"
    )
    return not any(missing)


def story(
    scenario,
    main,
    young,
    secured,
    silent,
    blocked,
    judged,
    online,
    store,
    between,
    authority,
    work,
    customers,
):
    fires, clears = scenario.until_fires, scenario.until_clears

    def ask(server=main, path=f"/v1/models/churn/scores/{IDS[0]}"):
        server.ask(path, port="http")

    def late():
        # The deadline passes before so many customers are scored.
        connection = http.client.HTTPConnection("127.0.0.1", main.ports["http"])
        body = json.dumps({"model": "churn", "explain": 3, "entities": [{"id": id} for id in IDS[:300]]})
        connection.request("POST", "/v1/score", body, {"x-request-timeout-ms": "1"})
        answer = connection.getresponse()
        assert answer.status == 504, answer.read()
        connection.close()
        ask()

    # The sample's newest row is days old.
    fires("EvergreenSnapshotStale")
    place(FRAME.head(10), customers)
    fires("EvergreenSnapshotRefused")
    place(FRAME.assign(as_of=dt.datetime.now(dt.UTC)), customers)
    clears("EvergreenSnapshotStale", "EvergreenSnapshotRefused")

    young.start(wait=False)
    fires("EvergreenNoLiveModel")
    put(bundle(work / "young5"), work / "young", 5)
    clears("EvergreenNoLiveModel")
    fires("EvergreenVersionsDiffer")
    young.stop()
    clears("EvergreenVersionsDiffer")

    put(bundle(work / "v2", scale=0.1), main.models, 2)
    broken = main.models / "churn/3"
    broken.mkdir()
    (broken / "model.json").write_text("no model")
    fires("EvergreenVersionRefused", seconds=120)
    main.ask("/v1/models/churn/rollback", method="POST", body="{}")
    fires("EvergreenVersionRolledBack")
    for version in (broken, main.models / "churn/2"):
        subprocess.run(["rm", "-r", str(version)], check=True)
    clears("EvergreenVersionRefused", "EvergreenVersionRolledBack")
    main.models.rename(work / "away")
    fires("EvergreenRepositoryUnreachable")
    (work / "away").rename(main.models)
    clears("EvergreenRepositoryUnreachable")

    score_all(main)
    fires("EvergreenDrift")
    # A file in place of the folder of the log: nothing can be written.
    (work / "log").rename(work / "log-away")
    (work / "log").write_text("")
    fires("EvergreenPredictionsLost", also=lambda: score_all(main))
    (work / "log").unlink()
    clears("EvergreenPredictionsLost")
    main.ask("/v1/models/churn/unload", method="POST", body='{"version":1}')
    clears("EvergreenDrift")
    main.ask("/v1/models/churn/load", method="POST", body='{"version":1}')

    fires("EvergreenErrorBudgetBurnFast", "EvergreenErrorBudgetBurnSlow", also=late)
    clears("EvergreenErrorBudgetBurnFast", "EvergreenErrorBudgetBurnSlow", also=ask)

    def fresh(count):
        # Customers that the cache does not know.
        for _ in range(count):
            ask(online, f"/v1/models/churn/scores/{next(unknown)}")

    unknown = iter(IDS[50:])
    between.delay = 0.1
    fires("EvergreenLatencyBudgetBurnFast", "EvergreenLatencyBudgetBurnSlow", also=lambda: fresh(5))
    between.delay = 0
    clears("EvergreenLatencyBudgetBurnFast", "EvergreenLatencyBudgetBurnSlow", also=ask)

    held = []
    fires("EvergreenMemoryBudgetShort", also=lambda: hold_memory(main, held))
    for connection in held:
        connection.close()
    clears("EvergreenMemoryBudgetShort")

    for _ in range(60):
        for id in IDS[:50]:
            ask(online, f"/v1/models/churn/scores/{id}")
    fires("EvergreenCacheHitsCollapsed", also=lambda: fresh(20))
    store.kill()
    fires("EvergreenCircuitBreakerOpen", also=lambda: fresh(5))
    store.start()
    hits = [f"/v1/models/churn/scores/{id}" for id in IDS[:50]]
    clears(
        "EvergreenCircuitBreakerOpen",
        "EvergreenCacheHitsCollapsed",
        also=lambda: [ask(online, path) for path in hits],
    )

    secured.start(wait=False)
    fires("EvergreenCertificateExpires")
    authority.issue(days=200)
    clears("EvergreenCertificateExpires")
    secured.stop()

    silent.start_unread()
    fires("EvergreenLogLinesDropped", also=lambda: [ask(silent) for _ in range(50)])
    clears("EvergreenLogLinesDropped")
    more = iter(IDS)
    fires(
        "EvergreenOutcomeScoresLost",
        also=lambda: [ask(silent, f"/v1/models/churn/scores/{next(more)}") for _ in range(10)],
    )
    clears("EvergreenOutcomeScoresLost")
    silent.process.kill()

    judged.start()
    judged.record(judged.against_the_scores())
    fires("EvergreenCalibration")
    judged.record(judged.as_promised())
    clears("EvergreenCalibration")
    judged.stop()

    blocked.start(wait=False, BLOCK_WORKERS="1:15", TOKIO_WORKER_THREADS="2")
    fires("EvergreenWorkerStuck")
    clears("EvergreenWorkerStuck")
    blocked.stop()

    online.stop()
    main.stop()
    fires("EvergreenAbsent")
    main.start()
    clears("EvergreenAbsent")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default="target/debug/evergreen")
    binary = str(Path(parser.parse_args().binary).resolve())
    with tempfile.TemporaryDirectory(prefix="evergreen-alerts-") as work:
        sys.exit(0 if run(binary, Path(work)) else 1)


if __name__ == "__main__":
    main()
