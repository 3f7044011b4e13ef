"""A server with scores that are old enough to be judged by outcomes."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evergreen_testing.processes import until
from evergreen_testing.server_process import Instance

#: How long ago the scores were given. The sample's contract judges them after 105 days: horizon and grace period.
AGE_DAYS = 110


class JudgedServer(Instance):
    """A server whose outcomes are in a folder. `score_long_ago` fills `scores`, the score of each customer."""

    scores: dict[str, float]

    def __init__(self, binary: str, folder: Path, name: str = "judged") -> None:
        # The sample's customers were observed later than the scores are given.
        config = f"[outcomes]\nfolder = '{folder}/{name}-outcomes'\nrefresh = '1s'\n[features]\nas_of = ''\n"
        super().__init__(binary, folder, name, config)

    def score_long_ago(self, shim: Path, ids: Sequence[str]) -> None:
        """Scores customers while the clock is AGE_DAYS behind, and stops the server. `shim` moves the clock."""
        self.start(LD_PRELOAD=str(shim), SHIFT=str(-AGE_DAYS * 86400), SHIFTED=str(self.folder))
        entities = [{"id": id} for id in ids]
        answer = self.post("/v1/score", {"model": "churn", "entities": entities})
        self.scores = {result["id"]: result["score"] for result in answer["results"]}
        kept = f'evergreen_outcome_scores_total{{result="kept"}} {len(ids)}\n'
        until(lambda: kept in self.ask("/metrics")[1])
        assert self.stop()[0] == 0

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Sends a request over REST that must succeed, and returns the answer."""
        status, text = self.ask(path, "http", "POST", json.dumps(body), timeout=60)
        assert status == 200, text
        found: dict[str, Any] = json.loads(text)
        return found

    def record(self, leavers: Iterable[str]) -> None:
        """Records that these customers left within the horizon and the others stayed. Replaces earlier records."""
        gone, now = set(leavers), dt.datetime.now(dt.UTC)
        day = (now - dt.timedelta(days=AGE_DAYS - 50)).isoformat()
        outcomes = [
            {"customer": id, "result": "left" if id in gone else "stayed", "time": day, "id": "result"}
            for id in self.scores
        ]
        self.post("/v1/outcomes", {"outcomes": outcomes})

    def as_promised(self) -> list[str]:
        """Returns as many customers as the scores promise to leave, spread over the scores."""
        leavers, total = [], 0.0
        for id, score in sorted(self.scores.items(), key=lambda item: item[1]):
            if int(total + score) > int(total):
                leavers.append(id)
            total += score
        return leavers

    def against_the_scores(self) -> list[str]:
        """Returns the fifth of the customers with the lowest scores."""
        return sorted(self.scores, key=lambda id: self.scores[id])[: len(self.scores) // 5]
