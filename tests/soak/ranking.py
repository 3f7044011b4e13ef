"""The ranking with many customers: time to rank after a swap, memory, and latency of readers beside scoring traffic.

    cargo build --release --features full
    python tests/soak/ranking.py --binary target/release/evergreen --rows 1000000

The customers are those of the sample, repeated with other ids. Readers keep their connections; their clients run on the
same machine, so that their processor time counts against the server.
"""

import argparse
import http.client
import json
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/python"), str(ROOT / "tests/soak")]

PATH = "/v1/models/churn/ranking"

#: What the readers ask for: first pages, later pages, bands, a filter that is kept, and reasons.
QUERIES = {
    "page": "page_size=50",
    "band": "page_size=50&band=high",
    "filter": "page_size=50&filter=plan%3Dshowroom",
    "reasons": "page_size=20&fields=rank%2Cid%2Cscore%2Creasons&reasons=3",
}


def customers(path, rows, step=0):
    """Writes the sample's customers `rows` times over; another `step` changes their visits."""
    import pandas as pd

    from evergreen_testing.sample_customers import FRAME, ID

    frame = pd.concat([FRAME] * (rows // len(FRAME) + 1), ignore_index=True).head(rows)
    frame[ID] = [f"C-{number:07d}" for number in range(rows)]
    frame["monthly_price"] = frame["monthly_price"] + [number % 997 / 100 for number in range(rows)]
    frame["visits_30d"] = (frame["visits_30d"] - step).clip(lower=0)
    frame["as_of"] = frame["as_of"] + pd.Timedelta(hours=step)
    new = path.with_suffix(".new")
    frame.to_parquet(new)
    new.rename(path)


def metrics(instance):
    """Returns the metrics of rankings and of the snapshot."""
    found = {}
    for line in instance.ask("/metrics")[1].splitlines():
        if line.startswith(("evergreen_ranking", "evergreen_snapshot_bytes", "evergreen_snapshot_rows")):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def until_ranked(instance, rows, after=0.0, seconds=600):
    """Waits for a ranking of so many customers that is later than `after`. Returns when it was there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = metrics(instance)
        ranked = found.get('evergreen_ranking_customers{model="churn",result="ranked"}')
        at = found.get('evergreen_ranking_timestamp_seconds{model="churn"}', 0.0)
        if ranked == rows and at > after:
            return time.monotonic()
        time.sleep(0.05)
    raise AssertionError("no ranking in time")


def read(port, queries, seconds, out, scores, rows):
    """A process of readers or scorers: one thread for each query of `queries`; sends their latencies."""
    times = {name: [] for name in {*queries}}
    failures = []
    end = time.monotonic() + seconds

    def run(name):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        rng = random.Random()
        while time.monotonic() < end:
            path = (
                f"/v1/models/churn/scores/C-{rng.randrange(rows):07d}"
                if scores
                else f"{PATH}?{QUERIES[name]}"
            )
            start = time.perf_counter()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failures.append(answer.status)
                    time.sleep(0.1)
                    continue
            except OSError as error:
                failures.append(repr(error))
                connection.close()
                continue
            times[name].append(time.perf_counter() - start)
            # People read; a machine that asks without a pause would be a scoring client.
            time.sleep(0.01 if scores else rng.uniform(0.5, 1.5))

    threads = [threading.Thread(target=run, args=(name,)) for name in queries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put((times, failures))


def traffic(port, readers, scorers, seconds, rows):
    """Runs so many readers and scorers at the same time. Returns their latencies in milliseconds."""
    out = multiprocessing.Queue()
    names = [list(QUERIES)[number % len(QUERIES)] for number in range(readers)]
    work = [(names[start : start + 50], False) for start in range(0, readers, 50)]
    work += [(["score"] * scorers, True)] if scorers else []
    processes = [
        multiprocessing.Process(target=read, args=(port, queries, seconds, out, scores, rows))
        for queries, scores in work
    ]
    for process in processes:
        process.start()
    merged, failures = {}, []
    for _ in processes:
        times, failed = out.get()
        failures += failed
        for name, found in times.items():
            merged.setdefault(name, []).extend(found)
    for process in processes:
        process.join()
    return {
        name: {
            "requests": len(found),
            "p50_ms": round(1000 * quantile(found, 0.5), 2),
            "p99_ms": round(1000 * quantile(found, 0.99), 2),
        }
        for name, found in sorted(merged.items())
    } | {"failures": len(failures)}


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def fetch(instance, query):
    """Returns the milliseconds of one request, and the bytes of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", instance.ports["http"], timeout=300)
    start = time.perf_counter()
    connection.request("GET", f"{PATH}?{query}")
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, text
    return round(1000 * (time.perf_counter() - start), 2), len(text)


def measure(binary, work, rows, readers, seconds):
    """Returns the figures."""
    from evergreen_testing.server_process import Instance

    path = work / "customers.parquet"
    customers(path, rows)
    config = "[features.watch]\nseconds = 0.5\n[log]\nlevel = 'warn'\n"
    found = {"rows": rows}
    with Instance(binary, work, "a", config, customers=path) as instance:
        instance.start()
        start = time.monotonic()
        until_ranked(instance, rows)
        found["ranked_after_ready_s"] = round(time.monotonic() - start, 2)
        found["first"] = metrics(instance) | {"resident_mb": round(instance.resident())}
        found["single_ms"] = {name: fetch(instance, query)[0] for name, query in QUERIES.items()}
        found["single_ms"]["filter, kept"] = fetch(instance, QUERIES["filter"])[0]
        found["single_ms"]["search"] = fetch(instance, "page_size=50&search=0042")[0]
        found["export_ms"], found["export_bytes"] = fetch(instance, "format=csv")
        port = instance.ports["http"]
        found["scoring_alone"] = traffic(port, 0, 4, seconds, rows)
        found["readers_alone"] = traffic(port, readers, 0, seconds, rows)
        found["both"] = traffic(port, readers, 4, seconds, rows)
        before = time.time()
        customers(path, rows, 1)
        written = time.monotonic()
        peak = [0.0]
        ended = threading.Event()

        def watch():
            while not ended.is_set():
                peak[0] = max(peak[0], instance.resident())
                time.sleep(0.05)

        watcher = threading.Thread(target=watch)
        watcher.start()
        during = []
        loader = threading.Thread(target=lambda: during.append(traffic(port, 0, 4, 3 * seconds, rows)))
        loader.start()
        found["ranked_after_new_snapshot_s"] = round(until_ranked(instance, rows, before) - written, 2)
        ended.set()
        watcher.join()
        loader.join()
        found["scoring_during_swap"] = during[0]
        found["second"] = metrics(instance) | {
            "resident_mb": round(instance.resident()),
            "peak_mb": round(peak[0]),
        }
        found["exit_code"], found["stop_s"] = instance.stop()
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", default=str(ROOT / "target/release/evergreen"))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--readers", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments.binary, Path(folder), arguments.rows, arguments.readers, arguments.seconds)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
