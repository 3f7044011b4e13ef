"""`kill -9` under load, again and again: what the prediction log has of the answers."""

import dataclasses
import random
import re
import time
from pathlib import Path

from evergreen_testing.prediction_logs import Sender, log_settings, rows, unfinished
from evergreen_testing.sample_customers import IDS
from evergreen_testing.server_process import Instance


@dataclasses.dataclass
class Kill:
    """One life of a server: its answers, those that the log has, and what the next start said of the others."""

    answered: int
    logged: int
    reported: int
    seconds: float

    @property
    def lost(self) -> int:
        """Answers that the log does not have."""
        return self.answered - self.logged


def killed_metric(instance: Instance) -> int:
    """Returns the rows that the server says an earlier process has lost."""
    text = instance.ask("/metrics")[1]
    found = re.search(r'evergreen_prediction_log_lost_rows_total\{reason="killed"\} (\d+)', text)
    assert found, text
    return int(found[1])


def kill_repeatedly(
    binary: str, work: Path, kills: int, group_seconds: int, threads: int = 2, seed: int = 1
) -> list[Kill]:
    """Kills a server so many times under load, after up to three row groups. Asserts that no row is in the log
    twice and no file is torn."""
    chance = random.Random(seed)
    log = work / "predictions"
    config = log_settings(log, row_group_seconds=group_seconds)
    found: list[Kill] = []
    seen: set[str] = set()
    with Instance(binary, work, config=config) as instance:
        instance.start()
        for _ in range(kills):
            start = time.monotonic()
            with Sender(f"http://127.0.0.1:{instance.ports['http']}", IDS, threads) as sender:
                time.sleep(chance.uniform(0.2, 3.0 * group_seconds))
                instance.process.kill()
                instance.process.wait()
            seconds = time.monotonic() - start
            instance.start()
            answered = sender.all()
            # Reading every file proves that none is torn.
            logged = [row["request_id"] for row in rows(log)]
            assert len(logged) == len(set(logged)), "a row is in the log twice"
            new = set(logged) - seen
            seen |= new
            reported = killed_metric(instance)
            found.append(Kill(len(answered), len(new & set(answered)), reported, seconds))
        # The last one ends in order, and has written all.
        with Sender(f"http://127.0.0.1:{instance.ports['http']}", IDS) as sender:
            time.sleep(0.5)
        answered = sender.all()
        instance.stop()
    assert answered and set(answered) <= {row["request_id"] for row in rows(log)}
    keys = [(row["writer"], row["sequence"]) for row in rows(log)]
    assert len(keys) == len(set(keys)), "a sequence number is in the log twice"
    assert not unfinished(log), unfinished(log)
    return found
