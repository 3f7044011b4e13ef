"""Mixed load on every protocol beside hostile clients, while everything around the server changes.

    cargo build --release --features full
    python tests/soak/hostile.py --binary target/release/evergreen [--seconds 1800] [--hostile 2] [--limit 512]

The server has TLS, API keys, and two models (`churn` from the snapshot, `online` from Redis). Its peak of resident
memory (VmHWM) must stay below the limit in MiB, as in a container. RLIMIT_DATA, four times as high, is a net only: it
also counts what was reserved and never touched, for instance for messages of an announced length. Meanwhile

- versions of `churn` are published, with one of two calibrations in turn;
- the snapshot is replaced by one with its rows in another order;
- Redis is paused, killed and started again;
- the API key of the good clients and the server's certificate are replaced;
- hostile clients (`soak_attacks.py`) attack.

Good clients (`soak_clients.py`) compare every score with the one that its version gave before the load. Reports
resident memory (slope by least squares over the second half), open files, threads, what each kind of client saw, and
for how long the probes failed. redis-server must be installed. Ctrl-C ends it early, with the report. Exit code 1: a
wrong score, a failed request, more memory than the limit, or a server that ended.
"""

import argparse
import contextlib
import json
import multiprocessing
import queue
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]

import pandas as pd  # noqa: E402
import redis as redis_client  # noqa: E402

import soak_attacks  # noqa: E402
import soak_clients  # noqa: E402
from evergreen_testing.certificates import Authority  # noqa: E402
from evergreen_testing.feature_stores import redis_server  # noqa: E402
from evergreen_testing.model_repository import bundle, put  # noqa: E402
from evergreen_testing.paths import CUSTOMERS  # noqa: E402
from evergreen_testing.sample_customers import fill  # noqa: E402
from evergreen_testing.server_process import Instance  # noqa: E402
from process_watch import Watch  # noqa: E402

SETTINGS = """
[server]
poll_seconds = 0.5
[tls]
certificate = '{folder}/server.pem'
key = '{folder}/server.key'
[auth]
file = '{folder}/keys.toml'
[models]
poll_seconds = 1
[models.watch]
seconds = 5
psi = 0
agreement = 0
[features]
snapshot = '{folder}/customers.parquet'
[features.watch]
seconds = 1
[source.online]
timeout = "1s"
on_failure = "reject"
cache = {{ bytes = 16777216, soft = "1s", hard = "3s" }}
[source.online.redis]
key = "customer:{{id}}"
as_of = "as_of"
[source.online.redis.server]
urls = ["{redis}"]
[limits]
memory = {memory}
[log]
level = "warn"
"""

FRAME = pd.read_parquet(CUSTOMERS)
#: The calibration of odd and even versions.
SCALES = {1: None, 0: 0.3}


class Site:
    """The files of the server and how each of them is replaced; counts what was done."""

    def __init__(self, folder, binary, redis):
        self.folder, self.binary, self.redis = folder, binary, redis
        self.done, self.version, self.certificates = Counter(), 0, 0
        self.authority = Authority(folder)
        self.key_file = folder / "key.txt"
        self.hostile_key, self.hostile_entry = self.key("hostile")
        self.entry = ""

    def key(self, name):
        command = [self.binary, "key", name, "--role", "score"]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        return made.stderr.split()[-1], made.stdout

    def place(self, name, text):
        """Replaces a file in one step."""
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.rename(self.folder / name)

    def rotate_key(self, pause=3.0):
        """Adds a key, lets the clients change to it, and removes the previous one."""
        key, entry = self.key(f"good-{self.done['keys']}")
        self.place("keys.toml", self.hostile_entry + self.entry + entry)
        time.sleep(pause)
        self.place("key.txt", key)
        time.sleep(pause)
        # Requests may still be under way with the previous key for as long as the slowest takes.
        time.sleep(pause)
        self.place("keys.toml", self.hostile_entry + entry)
        self.entry = entry
        self.done["keys"] += 1

    def rotate_certificate(self):
        fresh, key = self.authority.issue(f"fresh-{self.certificates}")
        self.certificates += 1
        key.rename(self.folder / "server.key")
        fresh.rename(self.folder / "server.pem")
        self.done["certificates"] += 1

    def publish(self):
        """Publishes the next version, and removes the one ten before."""
        self.version += 1
        made = bundle(self.folder / "made", SCALES[self.version % 2])
        put(made, self.folder / "models", self.version)
        old = self.folder / f"models/churn/{self.version - 10}"
        shutil.rmtree(old, ignore_errors=True)
        self.done["versions"] += 1

    def publish_online(self):
        """Publishes the model whose features are in Redis."""
        made = bundle(self.folder / "made")
        text = (made / "bundle.toml").read_text().replace('name = "churn"', 'name = "online"', 1)
        parts = text.split("[[feature]]\nname = ")
        named = [
            part.replace("\n", f'\nsource = "online:{part.split(chr(34))[1]}"\n', 1) for part in parts[1:]
        ]
        (made / "bundle.toml").write_text("[[feature]]\nname = ".join([parts[0], *named]))
        put(made, self.folder / "models", 1, "online")

    def replace_snapshot(self):
        new = self.folder / "customers.new"
        FRAME.sample(frac=1, random_state=self.done["snapshots"]).to_parquet(new)
        new.rename(self.folder / "customers.parquet")
        self.done["snapshots"] += 1

    def fail_store(self):
        """Pauses Redis and kills it in turn."""
        if self.done["outages"] % 2:
            self.redis.kill()
            time.sleep(3)
            self.redis.start()
        else:
            self.redis.signal(signal.SIGSTOP)
            time.sleep(3)
            self.redis.signal(signal.SIGCONT)
        self.done["outages"] += 1


def every(seconds, what, stop, problems):
    """Does something again and again in a thread of its own until `stop` is set."""

    def run():
        while not stop.wait(seconds):
            try:
                what()
            except Exception as error:
                problems.append(f"{what.__name__}: {error!r}")

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def expected_scores(site, clients_site, instance):
    """Returns the scores by model, parity of the version and id, asked of a server at rest."""
    ids = [str(id) for id in FRAME["customer_id"].head(400)]
    client = soak_clients.Rest(clients_site, 100)

    def ask(model):
        rows = [row for at in range(0, 400, 100) for row in client(ids[at : at + 100], model)]
        return rows[0][1], {id: score for _, _, id, score in rows}

    found = {"churn": {}, "online": dict.fromkeys((0, 1), ask("online")[1])}
    while len(found["churn"]) < 2:
        version, scores = ask("churn")
        if version == site.version:
            found["churn"][version % 2] = scores
            site.publish()
        time.sleep(0.1)
    client.close()
    assert found["churn"][0] != found["churn"][1]
    assert found["churn"][1] == found["online"][0], "the store's features must be the snapshot's"
    return found


def limited(instance, mebibytes):
    """Starts the server with a net below the limit of its memory, and waits until it is ready."""
    instance.start(wait=False, TOKIO_WORKER_THREADS="2")
    resource.prlimit(instance.process.pid, resource.RLIMIT_DATA, (4 * mebibytes << 20,) * 2)
    instance.until_ready()


def collect(results, count):
    """Returns the results by kind of client; those that do not come within two minutes are left out."""
    found, end = {}, time.monotonic() + 120
    with contextlib.suppress(queue.Empty):
        while len(found) < count:
            kind, result = results.get(timeout=max(0.1, end - time.monotonic()))
            found[kind] = result
    return found


def load(site, instance, options):
    """Runs clients and changes for a number of seconds; returns the report."""
    rest, grpc, ops = (f"127.0.0.1:{instance.ports[port]}" for port in ("http", "grpc", "ops"))
    clients_site = soak_clients.Site(rest, grpc, site.authority.file, site.key_file)
    expected = expected_scores(site, clients_site, instance)
    # Before there are threads: a forked process has the modules already.
    fork = multiprocessing.get_context("fork")
    stop, results, resting = fork.Event(), fork.Queue(), threading.Event()
    processes = [
        fork.Process(
            target=soak_clients.work,
            args=(kind, clients_site, expected, ["churn", "churn", "online"], stop, results),
        )
        for kind in soak_clients.KINDS
    ]
    addresses = (rest, grpc, ops, str(site.authority.file), site.hostile_key)
    processes += [
        fork.Process(target=soak_attacks.work, args=(seed, addresses, stop, results))
        for seed in range(options.hostile)
    ]
    watch, problems = Watch(instance, resting), []
    for process in processes:
        process.start()
    # What the first requests allocate for good belongs to the start.
    time.sleep(5)
    watch.start()
    changes = [
        every(15, site.publish, stop, problems),
        every(20, site.replace_snapshot, stop, problems),
        every(25, site.fail_store, stop, problems),
        every(20, site.rotate_key, stop, problems),
        every(10, site.rotate_certificate, stop, problems),
    ]
    end = time.monotonic() + options.seconds
    with contextlib.suppress(KeyboardInterrupt):
        while time.monotonic() < end and instance.process.poll() is None:
            time.sleep(30)
            print(f"{round(end - time.monotonic())} s left: {watch.samples[-1]}", file=sys.stderr, flush=True)
    ended = time.monotonic()
    stop.set()
    found = collect(results, len(processes))
    for process in processes:
        process.join(5)
        process.kill()
    for thread in changes:
        thread.join()
    report = {
        "seconds": round(options.seconds - max(0, end - ended)),
        "limit_mb": options.limit,
        "clients": found,
    }
    report |= {"done": dict(site.done), "problems": problems[:5]}
    report |= watch.report()
    # Connections that were left behind are closed by then.
    time.sleep(options.rest)
    resting.set()
    watch.join()
    report["ended"] = instance.process.poll()
    if report["ended"] is None:
        watch.sample()
        report["at_rest"] = {name: round(value) for name, value in watch.samples[-1].items() if name != "at"}
        used = 'evergreen_memory_budget_bytes{state="used"}'
        metrics = instance.ask("/metrics")[1].splitlines()
        report["budget_used_at_rest"] = next(line.split()[-1] for line in metrics if line.startswith(used))
        report["exit_code"], seconds = instance.stop()
        report["stop_s"] = round(seconds, 2)
    return report


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=str(ROOT / "target/release/evergreen"))
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--hostile", type=int, default=2, help="processes with hostile clients")
    parser.add_argument("--limit", type=int, default=512, help="memory limit in MiB")
    parser.add_argument(
        "--memory", type=int, default=230, help="limits.memory in MiB; the default is derived from 512"
    )
    parser.add_argument("--rest", type=int, default=80, help="seconds of rest before the last look")
    options = parser.parse_args()
    binary = str(Path(options.binary).resolve())
    with (
        tempfile.TemporaryDirectory(prefix="evergreen-hostile-") as folder,
        redis_server(f"{folder}/redis") as redis,
    ):
        fill(redis_client.Redis(port=redis.port))
        site = Site(Path(folder), binary, redis)
        site.rotate_key(pause=0)
        site.rotate_certificate()
        site.replace_snapshot()
        site.publish()
        site.publish_online()
        config = SETTINGS.format(folder=folder, redis=redis.url, memory=options.memory << 20)
        with Instance(binary, folder, "server", config, f"{folder}/models", customers=None) as instance:
            limited(instance, options.limit)
            report = load(site, instance, options)
            lines = instance.log.read_text().splitlines()
    report["log"] = Counter(" ".join(line.split(" ", 3)[1:])[:110] for line in lines).most_common(12)
    print(json.dumps(report, indent=1))
    lost = {"failed": 1, "wrong": 0}
    clients = [report["clients"].get(kind, lost) for kind in soak_clients.KINDS]
    good = report["ended"] is None and report["resident_mb"]["max"] <= options.limit
    good &= not any(client["failed"] or client["wrong"] for client in clients)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
