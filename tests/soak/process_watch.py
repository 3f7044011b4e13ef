"""Watches a server from outside: resident memory, open files, threads and probes."""

import statistics
import threading
import time
from collections import Counter
from pathlib import Path

from evergreen_testing.traffic import percentile


class Watch(threading.Thread):
    """Looks at the process every second and at its probes five times as often."""

    def __init__(self, instance, stop):
        super().__init__()
        self.instance, self.stop = instance, stop
        self.samples, self.probes = [], {"/livez": [], "/readyz": []}
        self.reasons = Counter()

    def sample(self):
        folder = Path(f"/proc/{self.instance.process.pid}")
        lines = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        mib = {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM", "VmData")}
        files = sum(1 for _ in (folder / "fd").iterdir())
        self.samples.append({"at": time.monotonic(), "files": files, "threads": int(lines["Threads"]), **mib})

    def run(self):
        turn = 0
        while not self.stop.is_set() and self.instance.process.poll() is None:
            if turn % 5 == 0:
                self.sample()
            for path, seen in self.probes.items():
                start = time.monotonic()
                status, text = self.instance.ask(path)
                seen.append((start, time.monotonic() - start, status))
                if status != 200:
                    self.reasons[f"{path} {status} {text[:200]}"] += 1
            turn += 1
            time.sleep(0.2)

    def report(self):
        found = {"probes": {path: self.probe(seen) for path, seen in self.probes.items()}}
        found["reasons"] = self.reasons.most_common(5)
        half = self.samples[len(self.samples) // 2 :]
        found["resident_mb"] = {
            "start": round(self.samples[0]["VmRSS"]),
            "end": round(self.samples[-1]["VmRSS"]),
            "max": round(self.samples[-1]["VmHWM"]),
            "slope_mb_per_hour": round(slope(half) * 3600, 2),
        }
        found["data_mb_max"] = round(max(sample["VmData"] for sample in self.samples))
        for name in ("files", "threads"):
            values = [sample[name] for sample in self.samples]
            found[name] = {"start": values[0], "max": max(values), "end": values[-1]}
        return found

    def probe(self, seen):
        failed = [(at, at + took) for at, took, status in seen if status != 200]
        times = [took for _, took, _ in seen]
        return {
            "asked": len(seen),
            "failed": len(failed),
            "failed_s": round(sum(end - start + 0.2 for start, end in failed), 1),
            "p99_ms": round(percentile(times, 0.99), 1),
            "max_ms": round(max(times) * 1e3, 1),
        }


def slope(samples):
    """Returns MiB per second of resident memory, by least squares."""
    if len(samples) < 2:
        return 0.0
    times = [sample["at"] for sample in samples]
    values = [sample["VmRSS"] for sample in samples]
    return statistics.linear_regression(times, values).slope
