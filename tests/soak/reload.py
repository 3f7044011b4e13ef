"""1,000 reloads under constant load on both protocols: failed requests, wrong scores, p99, memory.

    cargo build --release --features full
    python tests/soak/reload.py --binary target/release/evergreen [--reloads 1000] [--trees 3000] [--rate 300]

Two large models alternate. Requests start at fixed instants (an open loop) and are timed from the instant at which they
should have started. REST and gRPC load come from one process each; a third one publishes. Every answer's score is
compared with the score that the named version gave before the reloads. The steady p99 is measured before the first
reload and after the last, with the same load.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "python/serving/src"), str(ROOT / "tests/python")]

IDS = 64


def train(folder, rounds, seed):
    """Returns a bundle with about 33 KB per round: 3,000 rounds are 100 MB."""
    import numpy as np
    import pandas as pd
    import xgboost

    from evergreen_serving import save_bundle

    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        random.normal(size=(40_000, 20)).astype("float32"), columns=[f"f{n}" for n in range(20)]
    )
    target = (frame.sum(axis=1) + random.normal(size=len(frame)) > 0).astype(int)
    parameters = {"objective": "binary:logistic", "max_depth": 9, "eta": 0.01, "min_child_weight": 0,
                  "tree_method": "hist", "seed": seed, "lambda": 0}  # fmt: skip
    booster = xgboost.train(parameters, xgboost.DMatrix(frame, target), rounds)
    save_bundle(booster, frame.head(2000), folder, entity="customer_id", bands={"low": 0.0, "high": 0.5})
    return frame


def ask(kind, address):
    """Returns a function that scores one id and returns (version, score)."""
    if kind == "rest":
        import httpx

        client = httpx.Client(base_url=address, timeout=30)

        def rest(id):
            answer = client.get(f"/v1/models/big/scores/{id}")
            answer.raise_for_status()
            body = answer.json()
            return body["model"]["version"], body["score"]

        return rest
    from evergreen_testing.model_repository import grpc_scorer

    return grpc_scorer(address, "big")


def load(kind, address, rate, expected, phase, results):
    """Sends requests at fixed instants until the phase is "stop"; records times by phase."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    call = ask(kind, address)
    call("C-0")
    times, failures, mixed, asked = {}, [], 0, 0
    start = time.perf_counter()
    while (now := phase.value) != 0:
        intended = start + asked / rate
        delay = intended - time.perf_counter()
        if delay > 0:
            time.sleep(delay)
        try:
            id = asked % IDS
            version, score = call(f"C-{id}")
            mixed += score != expected[version % 2][id]
        except Exception as error:
            failures.append(repr(error))
        times.setdefault(now, []).append(time.perf_counter() - intended)
        asked += 1
    results.put({"kind": kind, "times": times, "failures": failures, "mixed": mixed, "asked": asked})


def resident(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--binary", default=str(ROOT / "target/release/evergreen"))
    arguments.add_argument("--reloads", type=int, default=1000)
    arguments.add_argument("--trees", type=int, default=3000)
    arguments.add_argument("--rate", type=float, default=150, help="requests a second over each protocol")
    arguments.add_argument("--steady", type=float, default=20, help="seconds of steady load before and after")
    arguments.add_argument("--keep", help="a folder for the trained models, to be used again")
    options = arguments.parse_args()
    from evergreen_testing.server_process import serving
    from evergreen_testing.traffic import percentile

    work = Path(tempfile.mkdtemp(prefix="evergreen-soak-"))
    kept = Path(options.keep) if options.keep else work
    for seed in (0, 1):
        if not (kept / f"bundle-{seed}").exists():
            print(f"training model {seed}: {options.trees} trees", flush=True)
            frame = train(kept / f"bundle-{seed}", options.trees, seed)
            frame = frame.head(IDS)
            frame.insert(0, "customer_id", [f"C-{n}" for n in range(IDS)])
            frame.to_parquet(kept / "customers.parquet")
    size = sum(file.stat().st_size for file in (kept / "bundle-0").iterdir()) / 1e6
    models = work / "models"

    def publish(version):
        staging = work / "staging"
        shutil.copytree(kept / f"bundle-{version % 2}", staging, copy_function=os.link)
        (models / "big").mkdir(parents=True, exist_ok=True)
        staging.rename(models / f"big/{version}")

    publish(2)
    config = work / "evergreen.toml"
    config.write_text("[models]\npoll_seconds = 0.05\n[models.watch]\nseconds = 0\n[log]\nlevel = 'warn'\n")
    with serving(
        options.binary, work, models=models, customers=kept / "customers.parquet", config=config
    ) as server:

        def live():
            with urllib.request.urlopen(f"{server.ops.base_url}/v1/models") as answer:
                return json.load(answer)["models"][0]["version"]

        def reload(version):
            publish(version)
            while live() != version:
                time.sleep(0.01)
            shutil.rmtree(models / f"big/{version - 1}")

        call = ask("rest", str(server.http.base_url))
        expected = {0: [call(f"C-{n}")[1] for n in range(IDS)]}
        reload(3)
        expected[1] = [call(f"C-{n}")[1] for n in range(IDS)]
        assert expected[0] != expected[1]

        phase, results = multiprocessing.Value("i", 1), multiprocessing.Queue()
        addresses = {"rest": str(server.http.base_url), "grpc": server.grpc}
        loads = [
            multiprocessing.Process(target=load, args=(kind, address, options.rate, expected, phase, results))
            for kind, address in addresses.items()
        ]
        for process in loads:
            process.start()
        time.sleep(3)
        phase.value = 2
        time.sleep(options.steady)
        phase.value = 3
        memory, start = {}, time.monotonic()
        for count in range(1, options.reloads + 1):
            reload(3 + count)
            if count in (10, options.reloads) or count % 100 == 0:
                time.sleep(0.5)
                memory[count] = resident(server.process.pid)
                print(f"{count} reloads, {memory[count]:.0f} MB resident", flush=True)
        took = time.monotonic() - start
        phase.value = 4
        time.sleep(options.steady)
        phase.value = 0
        found = [results.get(timeout=60) for _ in loads]
        for process in loads:
            process.join()
    shutil.rmtree(work, ignore_errors=True)
    print(f"{options.reloads} reloads of a {size:.0f} MB bundle in {took:.0f} s")
    for each in found:
        steady = percentile(each["times"][2] + each["times"].get(4, []), 0.99)
        during = percentile(each["times"][3], 0.99)
        median = percentile(each["times"][2], 0.5), percentile(each["times"][3], 0.5)
        print(
            f"{each['kind']}: {each['asked']} requests, {len(each['failures'])} failed, {each['mixed']} mixed; "
            f"p50 {median[0]:.2f} -> {median[1]:.2f} ms; p99 steady {steady:.2f} ms, during reloads {during:.2f} ms, "
            f"ratio {during / steady:.2f}"
        )
        for failure in each["failures"][:3]:
            print("  ", failure)
    base = memory.get(10) or next(iter(memory.values()))
    print(
        f"resident after 10: {base:.0f} MB, after {options.reloads}: {memory[options.reloads]:.0f} MB, "
        f"ratio {memory[options.reloads] / base:.3f}"
    )


if __name__ == "__main__":
    main()
