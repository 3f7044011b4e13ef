"""A real Prometheus with the alerts of this repository, at a pace that tests can wait for."""

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from evergreen_testing.paths import ROOT
from evergreen_testing.processes import free_port, program

RULES = ROOT / "k8s/components/prometheus-operator/prometheusrule.yaml"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def rules() -> dict[str, Any]:
    """Returns the alerts as a file for `rule_files`."""
    found: dict[str, Any] = yaml.safe_load(RULES.read_text())["spec"]
    return found


def faster(text: str, pace: float) -> str:
    """Divides every duration of a query, such as [5m], by `pace`."""

    def divided(match: re.Match[str]) -> str:
        seconds = int(match.group(1)) * UNITS[match.group(2)] / pace
        return f"[{max(1, round(1000 * seconds))}ms]"

    return re.sub(r"\[(\d+)([smhd])\]", divided, text)


def fast_rules(pace: float) -> dict[str, Any]:
    """Returns the alerts with every window and waiting time divided by `pace`."""
    found = rules()
    for group in found["groups"]:
        for rule in group["rules"]:
            rule["expr"] = faster(rule["expr"], pace)
            for wait in ("for", "keep_firing_for"):
                if wait in rule:
                    rule[wait] = faster(f"[{rule[wait]}]", pace).strip("[]")
    return found


class Prometheus:
    """A running Prometheus; `http` is a client of its API."""

    def __init__(self, port: int) -> None:
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)

    def query(self, text: str) -> list[dict[str, Any]]:
        """Returns the series of an instant query."""
        answer = self.http.get("/api/v1/query", params={"query": text}).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def series(self, text: str, seconds: float, points: int = 120) -> list[dict[str, Any]]:
        """Returns the series of a query over the last seconds."""
        now = time.time()
        step = seconds / points
        wanted: dict[str, Any] = {"query": text, "start": now - seconds, "end": now, "step": step}
        answer = self.http.get("/api/v1/query_range", params=wanted).json()
        assert answer["status"] == "success", answer
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Returns the names of the alerts that fire."""
        alerts = self.http.get("/api/v1/alerts").json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextlib.contextmanager
def prometheus(
    folder: Path, targets: list[str], pace: float = 1, interval: str = "500ms"
) -> Iterator[Prometheus]:
    """Runs Prometheus on operations ports (HOST:PORT), with the alerts `pace` times as fast."""
    (folder / "rules.yaml").write_text(yaml.safe_dump(fast_rules(pace)))
    settings = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "evergreen", "static_configs": [{"targets": targets}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(settings))
    port = free_port()
    command = [
        program("prometheus"),
        f"--config.file={folder}/prometheus.yaml",
        f"--storage.tsdb.path={folder}/data",
    ]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--query.lookback-delta=5s"]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        end = time.monotonic() + 30
        while True:
            with contextlib.suppress(httpx.HTTPError):
                if running.http.get("/-/ready").status_code == 200:
                    break
            assert process.poll() is None and time.monotonic() < end, (folder / "prometheus.log").read_text()
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait()
