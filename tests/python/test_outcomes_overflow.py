"""Outcomes and scores that arrive faster than a database takes them: what waits is bounded, the rest is refused with a retry
time or dropped, both are counted, and nothing is lost or doubled once they are sent again."""

import datetime as dt
import threading
import time

import pandas as pd
import pytest

from evergreen_testing.feature_stores import postgres_server
from evergreen_testing.processes import until
from evergreen_testing.sample_customers import FRAME, ID, IDS, metric, scores
from evergreen_testing.server_process import serving

#: Statements of requests that may wait for the database, and scores that may wait for the thread that writes them.
UNANSWERED, WAITING_SCORES = 16, 100_000
#: Scores of a request.
BATCH = 10_000


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with postgres_server(tmp_path_factory.mktemp("overflow")) as postgres:
        yield postgres


@pytest.fixture
def config(database, tmp_path):
    """Settings with a schema of the test's own, in which the tables are."""
    schema = tmp_path.name.replace("-", "_")
    database.sql(f'CREATE SCHEMA "{schema}"')
    path = tmp_path / "evergreen.toml"
    path.write_text(f'[outcomes.postgres]\nconnect = "{database.connect}"\nschema = "{schema}"\n')
    return path


def rows(database, config, table):
    schema = config.parent.name.replace("-", "_")
    return database.rows(f'SELECT count(*) FROM "{schema}".evergreen_{table}')[0]["count"]


def locked(database, config):
    schema = config.parent.name.replace("-", "_")
    return database.locked(f'"{schema}".evergreen_outcomes', f'"{schema}".evergreen_scores')


def test_outcomes_that_the_database_does_not_take_are_refused_counted_and_kept_once_when_repeated(
    evergreen, tmp_path, database, config
):
    time_of_all = (dt.datetime.now(dt.UTC) - dt.timedelta(days=3)).isoformat()
    batches = [
        [{"customer": f"C-{request}-{number}", "result": "left", "time": time_of_all} for number in range(20)]
        for request in range(3 * UNANSWERED)
    ]
    with serving(evergreen, tmp_path, config=config) as server:

        def post(batch):
            return server.http.post("/v1/outcomes", json={"outcomes": batch})

        def at_once(batches):
            answers = []
            threads = [
                threading.Thread(target=lambda batch=batch: answers.append(post(batch))) for batch in batches
            ]
            [thread.start() for thread in threads], [thread.join() for thread in threads]
            assert len(answers) == len(batches)
            return answers

        assert post([batches[0][0]]).status_code == 200
        with locked(database, config):
            # A client that repeats what was refused, twice.
            for half in (batches[: len(batches) // 2], batches[len(batches) // 2 :]):
                start = time.monotonic()
                for answer in at_once(half):
                    assert answer.status_code == 503 and answer.headers["retry-after"] == "5", answer.text
                    assert "no answer within 5s" in answer.json()["detail"]
                    assert "repeat the request" in answer.json()["detail"]
                assert time.monotonic() - start < 9
            refused = {"api": "rest", "operation": "outcomes", "result": "unavailable"}
            assert metric(server, "evergreen_requests_total", **refused) == len(batches)
            assert metric(server, "evergreen_outcomes_total") == 1
            start = time.monotonic()
            assert all("score" in result for result in scores(server, IDS[:1000]))
            assert time.monotonic() - start < 5 and server.ops.get("/readyz").status_code == 200
        # What was sent before is kept now: no more than the database was sent at once.
        until(lambda: post([batches[0][0]]).status_code == 200)
        until(lambda: rows(database, config, "outcomes") >= 20 * (UNANSWERED - 1))
        time.sleep(1)
        assert rows(database, config, "outcomes") <= 20 * UNANSWERED + 1
        counted = {"recorded": 0, "replaced": 0, "duplicates": 0}
        before = rows(database, config, "outcomes")
        for answer in at_once(batches):
            assert answer.status_code == 200, answer.text
            counted = {key: count + answer.json()[key] for key, count in counted.items()}
        total = 20 * len(batches)
        assert counted == {"recorded": total - before, "replaced": 0, "duplicates": before}
        assert rows(database, config, "outcomes") == total


def test_scores_that_the_database_does_not_take_are_dropped_counted_and_kept_when_scored_again(
    evergreen, tmp_path, database, config
):
    copies = (WAITING_SCORES + 4 * BATCH) // len(FRAME)
    many = pd.concat(FRAME.assign(**{ID: FRAME[ID] + f"-{copy}"}) for copy in range(copies))
    many.to_parquet(tmp_path / "many.parquet")
    ids = list(many[ID])

    def score_all():
        for first in range(0, len(ids), BATCH):
            entities = [{"id": id} for id in ids[first : first + BATCH]]
            answer = server.http.post("/v1/score", json={"model": "churn", "entities": entities})
            assert answer.status_code == 200
            assert all("score" in result for result in answer.json()["results"])

    with serving(evergreen, tmp_path, customers=tmp_path / "many.parquet", config=config) as server:

        def counted(result):
            return metric(server, "evergreen_outcome_scores_total", result=result)

        outcome = {"customer": "C-1", "result": "left", "time": "2026-11-20"}
        assert server.http.post("/v1/outcomes", json={"outcomes": [outcome]}).status_code == 200
        with locked(database, config):
            score_all()
            # The thread has taken the scores of a request or two, and gives up on those after half a minute.
            waiting = len(ids) - counted("dropped") - counted("failed")
            assert counted("kept") == 0 and 0 < counted("dropped") < len(ids)
            assert WAITING_SCORES - BATCH < waiting <= WAITING_SCORES + 2 * BATCH
            assert server.ops.get("/readyz").status_code == 200
        until(lambda: counted("kept") + counted("dropped") + counted("failed") == len(ids), 120)
        assert rows(database, config, "scores") >= counted("kept") > 0

        def complete():
            score_all()
            time.sleep(2)
            return rows(database, config, "scores") == len(ids)

        until(complete, 180)
