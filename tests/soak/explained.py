"""Measures one score by id over REST with and without three reasons, in turn over one connection.

    cargo build --release
    python tests/soak/explained.py --binary target/release/evergreen

The model of `what_if.py`: 500 trees of depth 6 and 30 features. Customers are in a snapshot. A server that is asked
without a pause answers from warm caches; with `--pause` it idles between two requests.
"""

import argparse
import http.client
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "python/serving/src"), str(ROOT / "tests/python")]
from evergreen_serving import save_bundle  # noqa: E402
from evergreen_testing.server_process import serving  # noqa: E402
from what_if import trained  # noqa: E402


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binary", required=True, help="the program to measure")
    parser.add_argument("--requests", type=int, default=5000, help="of each kind")
    parser.add_argument("--trees", type=int, default=500)
    parser.add_argument("--pause", type=float, default=0.0, help="milliseconds between two requests")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model, X = trained(20_000, arguments.trees, 256)
        save_bundle(model, X, folder / "models/bench/1", bands={"low": 0.0, "high": 0.5})
        customers = X.head(1000).assign(customer_id=[f"C-{row}" for row in range(1000)])
        customers.to_parquet(folder / "customers.parquet")
        given = {"models": folder / "models", "customers": folder / "customers.parquet"}
        with serving(arguments.binary, folder, **given) as server:
            address = str(server.http.base_url).split("//")[1].strip("/")
            times = measured(http.client.HTTPConnection(address), arguments)
    print(f"{arguments.trees} trees of depth 6, {arguments.requests} requests of each kind")
    for name, of_kind in times.items():
        print(f"{name:18} p50 {np.quantile(of_kind, 0.5):.3f} ms, p99 {np.quantile(of_kind, 0.99):.3f} ms")
    plain, explained = times.values()
    for quantile in (0.5, 0.99):
        ratio = np.quantile(explained, quantile) / np.quantile(plain, quantile)
        print(f"p{100 * quantile:.0f}: {ratio:.2f} times as long with reasons")


def measured(connection, arguments):
    """Returns the milliseconds of plain and of explained requests, after a tenth of each to warm up."""
    times = {"plain": [], "with three reasons": []}
    for number in range(arguments.requests * 11 // 10):
        path = f"/v1/models/bench/scores/C-{number % 1000}"
        for of_kind, query in zip(times.values(), ("", "?explain=3")):
            time.sleep(arguments.pause / 1000)
            start = time.perf_counter()
            connection.request("GET", path + query)
            answer = connection.getresponse()
            content = answer.read()
            of_kind.append(1000 * (time.perf_counter() - start))
            if answer.status != 200:
                raise SystemExit(content.decode())
    return {name: of_kind[arguments.requests // 10 :] for name, of_kind in times.items()}


if __name__ == "__main__":
    main()
