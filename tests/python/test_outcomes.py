"""Outcomes of customers and the performance of a model: both stores, crashes, full disks, the measures against
scikit-learn and SciPy, and the hold-out."""

import datetime as dt
import json
import re
import signal
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from evergreen_testing import clock
from evergreen_testing.feature_stores import postgres_server
from evergreen_testing.grpc_client import Client
from evergreen_testing.paths import MODELS, ROOT
from evergreen_testing.processes import until, until_logged
from evergreen_testing.sample_customers import IDS, metric, scores
from evergreen_testing.server_process import Instance, serving

BUNDLE = ROOT / "models/churn/1"
#: Days until a score of the sample's contract is judged: horizon and grace period.
MATURE = 105
NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The path of a library that moves the clock of a program."""
    return clock.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    with postgres_server(tmp_path_factory.mktemp("outcomes")) as postgres:
        yield postgres


STORES = pytest.mark.parametrize("kind", ["folder", "postgres"])


def settings(folder, kind, request=None, extra="", name="evergreen.toml"):
    """Writes settings with a store of outcomes. PostgreSQL gets a schema of its own for each folder."""
    path = Path(folder) / name
    if kind == "folder":
        store = f'folder = "{folder}/outcomes"'
        table = ""
    else:
        database = request.getfixturevalue("database")
        schema = "s" + re.sub(r"\W", "", str(folder))[-50:]
        database.sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        store, table = "", f'[outcomes.postgres]\nconnect = "{database.connect}"\nschema = "{schema}"\n'
    path.write_text(f'[outcomes]\nrefresh = "1ms"\n{store}\n{extra}\n{table}')
    return path


def at(days=0.0, of=None):
    """The time some days from now, or from `of`, as text."""
    of = of or dt.datetime.now(dt.UTC)
    return (of + dt.timedelta(days=days)).isoformat()


def left(id, days=-1.0, **more):
    return {"customer": id, "model": "churn", "result": "left", "time": at(days), **more}


def post(server, *outcomes):
    return server.http.post("/v1/outcomes", json={"outcomes": list(outcomes)})


def counts(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["recorded"], body["replaced"], body["duplicates"]


def performance(server):
    answer = server.http.get("/v1/models/churn/performance")
    assert answer.status_code == 200, answer.text
    return answer.json()


# --- Recording -------------------------------------------------------------------------------------------------------


@STORES
def test_a_repeated_request_counts_once_and_an_id_can_be_corrected(evergreen, tmp_path, kind, request):
    config = settings(tmp_path, kind, request)
    batch = [
        left(IDS[0], -3),
        {"customer": IDS[1], "action": "call", "detail": "yearly contract", "time": at(-2)},
        {"customer": 7, "action": "none", "result": "stayed", "time": at(-2), "id": "crm-1"},
    ]
    with serving(evergreen, tmp_path, config=config) as server:
        assert counts(post(server, *batch)) == (3, 0, 0)
        assert counts(post(server, *batch)) == (0, 0, 3)
        assert counts(post(server, *batch, *batch, left(IDS[2], -3))) == (1, 0, 6)
        corrected = batch[2] | {"result": "left", "customer": "7"}
        assert counts(post(server, corrected)) == (0, 1, 0)
        assert counts(post(server, corrected)) == (0, 0, 1)
        text = post(server, corrected).json()["text"]
        assert text == "0 outcomes recorded, 0 replaced, 1 known already."
        for result, expected in {"left": 2, "stayed": 1, "none": 1}.items():
            assert metric(server, "evergreen_outcomes_total", model="churn", result=result) == expected
    with serving(evergreen, tmp_path, config=config) as server:
        assert counts(post(server, *batch[:2], corrected)) == (0, 0, 3)


@STORES
def test_a_wrong_outcome_is_named_and_nothing_of_its_request_is_kept(evergreen, tmp_path, kind, request):
    good = left(IDS[0], -3)
    with serving(evergreen, tmp_path, config=settings(tmp_path, kind, request)) as server:
        for change, field, part in [
            ({"result": "lost"}, "outcomes[1].result", "stayed"),
            ({"action": "cal"}, "outcomes[1].action", "did you mean `call`?"),
            ({"result": None}, "outcomes[1].result", "found neither"),
            ({"customer": ""}, "outcomes[1].customer", "found nothing"),
            ({"customer": "x" * 300}, "outcomes[1].customer", "at most 256 bytes, found 300"),
            ({"customer": 1.5}, "outcomes[1].customer", "a text or a whole number"),
            ({"time": at(3)}, "outcomes[1].time", "expected a time in the past"),
            ({"time": "2001-01-01"}, "outcomes[1].time", "outcomes.keep_days"),
            ({"time": 1772409600000}, "outcomes[1].time", "milliseconds"),
            ({"time": None}, "outcomes[1].time", 'such as "2026-03-01T09:30:00Z"'),
            ({"id": "x" * 200}, "outcomes[1].id", "at most 128 bytes, found 200"),
            ({"reslt": "left"}, "outcomes[1].reslt", "did you mean `result`?"),
        ]:
            answer = post(server, good, left(IDS[1]) | change)
            problem = answer.json()
            assert answer.status_code == 400, (change, problem)
            assert part in problem["detail"] and field in json.dumps(problem), (change, problem)
        unknown = post(server, good, left(IDS[1]) | {"model": "chrn"})
        assert unknown.status_code == 404 and "did you mean `churn`?" in unknown.json()["detail"]
        assert post(server).status_code == 400
        many = post(server, *[left(f"C-{number}") for number in range(10_001)])
        assert many.status_code == 413 and "limits.batch allows 10000" in many.json()["detail"]
        assert counts(post(server, good)) == (1, 0, 0)


def test_without_a_store_outcomes_are_off(server):
    answer = post(server, left(IDS[0]))
    assert (
        answer.status_code == 409 and "set outcomes.folder or [outcomes.postgres]" in answer.json()["detail"]
    )
    assert server.http.get("/v1/models/churn/performance").status_code == 409
    assert "hold_out" not in scores(server, IDS[:1])[0]


def test_two_servers_do_not_share_a_folder(evergreen, tmp_path):
    config = settings(tmp_path, "folder")
    with serving(evergreen, tmp_path, config=config):
        command = [evergreen, "serve", "--config", config, "--models", MODELS, "--http", "127.0.0.1:0"]
        command += ["--grpc", "127.0.0.1:0", "--ops", "127.0.0.1:0"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 2 and "another server uses it" in ended.stderr


def test_two_servers_share_a_database(evergreen, tmp_path, request):
    config = settings(tmp_path, "postgres", request)
    a, b = tmp_path / "a", tmp_path / "b"
    a.mkdir(), b.mkdir()
    with serving(evergreen, a, config=config) as one, serving(evergreen, b, config=config) as two:
        batch = [left(id, -3) for id in IDS[:500]]
        done = []
        posts = [
            threading.Thread(target=lambda s=s: done.append(counts(post(s, *batch)))) for s in (one, two) * 3
        ]
        [thread.start() for thread in posts], [thread.join() for thread in posts]
        assert sum(new for new, _, _ in done) == 500 and sum(known for _, _, known in done) == 2500
        scores(one, IDS[:300]), scores(two, IDS[:400])
        until(
            lambda: (
                performance(one)["versions"] and performance(two)["versions"][0]["counts"]["scores"] == 400
            )
        )


def test_roles_and_models_of_a_key(evergreen, tmp_path):
    keys = {}
    for role in ("score", "record"):
        made = subprocess.run(
            [evergreen, "key", role, "--role", role], capture_output=True, text=True, check=True
        )
        keys[role] = made.stderr.split()[-1]
        with (tmp_path / "keys.toml").open("a") as file:
            file.write(made.stdout)
    config = settings(tmp_path, "folder")
    config.write_text(config.read_text() + f'[auth]\nfile = "{tmp_path}/keys.toml"\n')
    with serving(evergreen, tmp_path, config=config) as server:

        def status(method, path, role, **body):
            return server.http.request(
                method, path, headers={"authorization": f"Bearer {keys[role]}"}, **body
            ).status_code

        body = {"json": {"outcomes": [left(IDS[0])]}}
        assert status("POST", "/v1/outcomes", "score", **body) == 403
        assert status("POST", "/v1/outcomes", "record", **body) == 200
        assert status("GET", "/v1/models/churn/performance", "score") == 200


# --- Crashes, full disks, outages ------------------------------------------------------------------------------------


def test_a_killed_server_loses_no_answered_outcome_and_doubles_none(evergreen, tmp_path):
    config = settings(tmp_path, "folder").read_text()
    answered, asked = [], []
    with Instance(evergreen, tmp_path, config=config) as instance:
        for round in range(6):
            instance.start()
            stop = threading.Event()

            def send(thread, round=round, stop=stop):
                number = 0
                while not stop.is_set():
                    number += 1
                    batch = [left(f"r{round}-{thread}-{number}-{item}", -3) for item in range(20)]
                    asked.append(batch)
                    body = json.dumps({"outcomes": batch})
                    status, _ = instance.ask("/v1/outcomes", "http", "POST", body)
                    if status == 200:
                        answered.append(batch)

            threads = [threading.Thread(target=send, args=(thread,)) for thread in range(3)]
            [thread.start() for thread in threads]
            time.sleep(0.3 + 0.1 * round)
            instance.process.send_signal(signal.SIGKILL)
            instance.process.wait()
            stop.set()
            [thread.join() for thread in threads]
        # A crash of the machine in the middle of a write.
        journal = tmp_path / "outcomes/outcomes.journal"
        with journal.open("ab") as file:
            file.write(b'0badc0de {"model":"churn","customer":"torn')
        instance.start()
        until_logged(instance.log, "unfinished last line of the outcomes cut off")
        assert 'evergreen_outcome_lines_lost_total{state="torn"} 1' in instance.ask("/metrics")[1]
        assert len(answered) > 10

        def again(batch):
            status, text = instance.ask("/v1/outcomes", "http", "POST", json.dumps({"outcomes": batch}))
            assert status == 200, text
            return json.loads(text)

        for batch in answered:
            assert again(batch)["duplicates"] == 20
        # What was not answered is retried: kept now, once.
        for batch in asked:
            again(batch)
        assert instance.stop()[0] == 0
    lines = [json.loads(line.split(b" ", 1)[1]) for line in journal.read_bytes().splitlines()]
    assert len(lines) == len({(line["customer"], line["key"]) for line in lines}) == 20 * len(asked)
    for line in journal.read_bytes().splitlines():
        assert int(line[:8], 16) == zlib.crc32(line[9:])


def test_a_damaged_line_is_reported_and_the_others_count(evergreen, tmp_path):
    config = settings(tmp_path, "folder")
    batch = [left(id, -3) for id in IDS[:3]]
    with serving(evergreen, tmp_path, config=config) as server:
        post(server, *batch)
    journal = tmp_path / "outcomes/outcomes.journal"
    first, second, third = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + second.replace(b"left", b"lost") + third)
    with serving(evergreen, tmp_path, config=config) as server:
        until_logged(server.log, "damaged lines of the outcomes skipped")
        assert metric(server, "evergreen_outcome_lines_lost_total", state="damaged") == 1
        assert counts(post(server, *batch)) == (1, 0, 2)


def test_a_full_disk_is_a_503_and_scores_go_on(evergreen, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        config = settings(tmp_path, "folder")
        config.write_text(f'[outcomes]\nfolder = "{small}/outcomes"\n')
        with serving(evergreen, tmp_path, config=config) as server:
            assert counts(post(server, left(IDS[0], -3))) == (1, 0, 0)
            filler = small / "filler"
            # Fills the disk to its last byte.
            subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=512"], capture_output=True)
            many = [left(id, -2) for id in IDS[:400]]
            answer = post(server, *many)
            assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
            assert (
                "cannot be written" in answer.json()["detail"]
                and "nothing of this" in answer.json()["detail"]
            )
            found = scores(server, IDS[:2000])
            assert len(found) == 2000 and all("score" in result for result in found)
            until(lambda: metric(server, "evergreen_outcome_scores_total", result="failed") > 0)
            filler.unlink()
            assert counts(post(server, *many[:100])) == (100, 0, 0)
            assert counts(post(server, left(IDS[0], -3), *many[:100]))[2] >= 100
        lines = (small / "outcomes/outcomes.journal").read_bytes().splitlines()
        assert all(int(line[:8], 16) == zlib.crc32(line[9:]) for line in lines)
    finally:
        subprocess.run(["umount", small], check=True)


def test_without_the_database_outcomes_wait_and_scores_go_on(evergreen, tmp_path):
    with postgres_server(tmp_path / "own") as postgres:
        config = tmp_path / "evergreen.toml"
        config.write_text(
            f'[outcomes]\nrefresh = "1ms"\n[outcomes.postgres]\nconnect = "{postgres.connect}"\n'
        )
        postgres.kill()
        with serving(evergreen, tmp_path, config=config) as server:
            outcome = left(IDS[0], -3)
            answer = post(server, outcome)
            assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
            assert "PostgreSQL" in answer.json()["detail"] and "counts once" in answer.json()["detail"]
            assert server.http.get("/v1/models/churn/performance").status_code == 503
            start = time.monotonic()
            assert all("score" in result for result in scores(server, IDS[:500]))
            assert time.monotonic() - start < 5
            assert server.ops.get("/readyz").status_code == 200
            postgres.start()
            until(lambda: post(server, outcome).status_code == 200)
            postgres.kill()
            assert post(server, outcome).status_code == 503
            postgres.start()
            until(lambda: post(server, outcome).status_code == 200)
            assert counts(post(server, outcome)) == (0, 0, 1)


def test_a_database_that_hangs_holds_up_no_score(evergreen, tmp_path, database):
    config = tmp_path / "evergreen.toml"
    database.sql("CREATE SCHEMA hanging")
    config.write_text(f'[outcomes.postgres]\nconnect = "{database.connect}"\nschema = "hanging"\n')
    with serving(evergreen, tmp_path, config=config) as server:
        outcome = left(IDS[0], -3)
        assert counts(post(server, outcome)) == (1, 0, 0)
        tables = "hanging.evergreen_outcomes, hanging.evergreen_scores"
        statement = f"BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(12)"
        command = database.command("psql", "-h", "127.0.0.1", "-p", str(database.port), "-U", "evergreen")
        with subprocess.Popen(
            [*command, "-d", "postgres", "-q", "-c", statement], cwd="/", stdout=subprocess.DEVNULL
        ) as lock:
            time.sleep(1)
            start = time.monotonic()
            answer = post(server, left(IDS[1], -3))
            assert answer.status_code == 503 and "no answer within 5s" in answer.json()["detail"]
            assert 4 < time.monotonic() - start < 8
            start = time.monotonic()
            assert all("score" in result for result in scores(server, IDS[:2000]))
            assert time.monotonic() - start < 5 and server.ops.get("/readyz").status_code == 200
            lock.wait(timeout=60)
        until(lambda: metric(server, "evergreen_outcome_scores_total", result="kept") == 2000)
        assert counts(post(server, outcome)) == (0, 0, 1)


def test_old_rows_leave_the_database(evergreen, tmp_path, database):
    config = tmp_path / "evergreen.toml"
    database.sql("CREATE SCHEMA old")
    config.write_text(
        '[outcomes]\nrefresh = "1ms"\nkeep_days = 200\n'
        f'[outcomes.postgres]\nconnect = "{database.connect}"\nschema = "old"\n'
    )
    with serving(evergreen, tmp_path, config=config) as server:
        assert counts(post(server, left("new", -3))) == (1, 0, 0)
    database.sql(
        "INSERT INTO old.evergreen_outcomes SELECT 'churn', 'o' || n, 'k', now() - interval '201 days', NULL, NULL, "
        "'left' FROM generate_series(1, 60000) n; INSERT INTO old.evergreen_scores SELECT 'churn', 'o' || n, 1, n, "
        "now() - interval '1 day' * n, 0.5, false FROM generate_series(1, 400) n"
    )
    with serving(evergreen, tmp_path, config=config) as server:

        def is_clean():
            wrong = (
                "(SELECT count(*) FROM old.evergreen_outcomes) <> 1 OR "
                "(SELECT count(*) FROM old.evergreen_scores) NOT BETWEEN 199 AND 200"
            )
            try:
                database.sql(f"DO $$ BEGIN IF {wrong} THEN RAISE EXCEPTION 'not yet'; END IF; END $$")
            except subprocess.CalledProcessError:
                return False
            return True

        until(is_clean)
        assert performance(server)["versions"][0]["counts"]["scores"] in (199, 200)


# --- Performance -----------------------------------------------------------------------------------------------------


def test_what_if_requests_and_second_scores_do_not_count(evergreen, tmp_path):
    with serving(evergreen, tmp_path, config=settings(tmp_path, "folder")) as server:
        scores(server, IDS[:50])
        scores(server, IDS[:70])
        entity = {"id": IDS[100], "features": {"nps": 3}}
        server.http.post("/v1/score", json={"model": "churn", "entities": [entity, {"id": "C-nobody"}]})
        until(lambda: metric(server, "evergreen_outcome_scores_total", result="kept") == 70)
        assert metric(server, "evergreen_outcome_scores_total", result="repeated") == 50
        report = performance(server)
        version = report["versions"][0]
        assert version["counts"]["scores"] == version["counts"]["pending"] == 70
        assert "observed" not in version and "70 scores are too recent to judge" in version["text"]
        total = sum(result["score"] for result in scores(server, IDS[:70]))
        assert version["expected"]["left"] == pytest.approx(total)


@STORES
def test_performance_from_scores_of_the_past(evergreen, shim, tmp_path, kind, request):
    """Scores are given 110 days ago; the same server then judges them today."""
    # The sample's customers were observed later than the scores are given.
    extra = 'hold_out = 0.1\nhold_out_salt = "a"\n[features]\nas_of = ""'
    config = settings(tmp_path, kind, request, extra)
    past = {"LD_PRELOAD": str(shim), "SHIFT": str(-110 * 86400), "SHIFTED": str(tmp_path)}
    ids = IDS[:3000]
    with serving(evergreen, tmp_path, config=config, **past) as server:
        given = scores(server, ids)
        until(lambda: metric(server, "evergreen_outcome_scores_total", result="kept") == len(ids))
        assert server.stop() == 0
    p = np.array([result["score"] for result in given])
    held = np.array([result.get("hold_out", False) for result in given])
    assert 240 < held.sum() < 360
    random = np.random.default_rng(5)
    y = random.random(len(p)) < p
    called = (p >= 0.3) & ~held
    outcomes = [left(id, -60) for id, gone in zip(ids, y) if gone]
    outcomes += [
        {"customer": id, "action": "call", "time": at(-109)} for id, call in zip(ids, called) if call
    ]
    back = np.flatnonzero(y)[:5]
    outcomes += [{"customer": ids[index], "result": "stayed", "time": at(-30)} for index in back]
    y[back] = False
    with serving(evergreen, tmp_path, config=config) as server:
        counts(post(server, *outcomes))
        report = performance(server)
        [version] = report["versions"]
        found = version["observed"]
        assert version["counts"] | {"customers": 0} == {
            "scores": 3000, "already_left": 0, "pending": 0, "matured": 3000, "known": 3000, "unknown": 0,
            "customers": 0, "coverage": 1.0,
        }  # fmt: skip
        assert found["left"] == y.sum() and found["expected_left"] == pytest.approx(p.sum())
        assert found["brier"]["value"] == pytest.approx(brier_score_loss(y, p))
        assert found["log_loss"]["value"] == pytest.approx(log_loss(y, p))
        assert found["auc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=5e-4)
        contact = version["contact"]
        assert contact["contacted"]["scores"] == called.sum()
        assert contact["contacted"]["left"] == (called & y).sum()
        assert contact["all"]["hold_out"] | {"rate": 0} == {
            "scores": held.sum(), "left": (held & y).sum(), "rate": 0,
        }  # fmt: skip
        assert contact["all"]["contacted_anyway"] == 0
        assert "only a random hold-out makes a difference an effect" in contact["text"]
        assert f"Of 3,000 customers with a score at least {MATURE} days old" in version["text"]
        assert sum(week["counts"]["known"] for week in version["weeks"]) == 3000
        until(lambda: metric(server, "evergreen_performance", model="churn", version="1", measure="auc") > 0)
        values = {"brier": found["brier"]["value"], "matured": 3000, "known": 3000, "coverage": 1}
        for measure, value in values.items():
            assert metric(server, "evergreen_performance", measure=measure) == pytest.approx(value)
        table = subprocess.run(
            [evergreen, "outcomes", "report", "--server", str(server.http.base_url).rstrip("/")],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert report["versions"][0]["text"].split(".")[0] in table and "promised AUC" in table
        # What is not live any longer is not judged.
        assert server.ops.post("/v1/models/churn/unload").status_code == 200
        until(lambda: "\nevergreen_performance{" not in server.ops.get("/metrics").text)


def simulated(seed=1, size=4000):
    """Scores, and results that the scores are a little too extreme for."""
    random = np.random.default_rng(seed)
    p = random.beta(0.7, 4, size)
    truth = 1 / (1 + np.exp(-(0.8 * np.log(p / (1 - p)) - 0.2)))
    return p, random.random(size) < truth


def bundle(folder, **outcome):
    """A copy of the sample's contract with another section [outcome]."""
    folder.mkdir(exist_ok=True)
    text = (BUNDLE / "bundle.toml").read_text()
    section = "".join(f"{key} = {json.dumps(value)}\n" for key, value in outcome.items())
    text = re.sub(r"\[outcome\]\n(.+\n)*", f"[outcome]\n{section}", text)
    (folder / "bundle.toml").write_text(text)
    return folder


def evaluate(evergreen, folder, scored, outcomes, now=NOW, **outcome):
    """Runs `evergreen outcomes evaluate` on tables, and returns its report."""
    outcome = {"horizon_days": 30, "absent": "stayed"} | outcome
    scored.to_parquet(folder / "scores.parquet")
    outcomes.to_csv(folder / "outcomes.csv", index=False)
    command = [evergreen, "outcomes", "evaluate", "--json", "--bundle", bundle(folder / "bundle", **outcome)]
    command += ["--scores", folder / "scores.parquet", "--outcomes", folder / "outcomes.csv"]
    command += ["--now", now.isoformat()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def one_week(p, y, **columns):
    """A table of scores of one day, and one of outcomes."""
    ids = [f"C-{number}" for number in range(len(p))]
    day = NOW - dt.timedelta(days=60)
    scored = pd.DataFrame({"customer": ids, "at": day, "score": p, "version": 2, **columns})
    gone = [id for id, left in zip(ids, y) if left]
    outcomes = pd.DataFrame({"customer": gone, "time": at(5, day), "result": "left"})
    return scored, outcomes


def wilson(part, whole):
    ends = binomtest(int(part), int(whole)).proportion_ci(method="wilson")
    return pytest.approx({"value": part / whole, "low": ends.low, "high": ends.high})


def test_measures_with_results_are_those_of_scikit_learn(evergreen, tmp_path):
    p, y = simulated()
    report = evaluate(evergreen, tmp_path, *one_week(p, y), contact_capacity=0.1)
    [version] = report["versions"]
    found = version["observed"]
    assert found["rate"] == wilson(y.sum(), len(y))
    assert found["brier"]["value"] == pytest.approx(brier_score_loss(y, p), rel=1e-9)
    assert found["log_loss"]["value"] == pytest.approx(log_loss(y, p), rel=1e-9)
    for name, errors in {"brier": (p - y) ** 2, "log_loss": -np.log(np.where(y, p, 1 - p))}.items():
        half = 1.959964 * errors.std(ddof=1) / np.sqrt(len(p))
        assert found[name]["high"] - found[name]["value"] == pytest.approx(half, rel=1e-5)
    assert found["auc"]["value"] == pytest.approx(roc_auc_score(y, p), abs=2e-4)
    # The interval of DeLong, from its definition.
    place = (
        np.searchsorted(np.sort(p[~y]), p[y]) / (~y).sum(),
        np.searchsorted(np.sort(p[y]), p[~y]) / y.sum(),
    )
    error = np.sqrt(place[0].var(ddof=1) / y.sum() + place[1].var(ddof=1) / (~y).sum())
    assert found["auc"]["high"] - found["auc"]["value"] == pytest.approx(1.959964 * error, rel=0.01)

    rows = found["calibration"]["rows"]
    assert len(rows) == 10 and rows[0]["from"] < p.min() and rows[-1]["to"] == 1
    error = 0
    for row in rows:
        inside = (p >= row["from"]) & (p < row["to"])
        assert row["scores"] == inside.sum() and row["left"] == y[inside].sum()
        assert row["mean"] == pytest.approx(p[inside].mean()) and row["rate"] == wilson(
            y[inside].sum(), inside.sum()
        )
        assert 0.08 < inside.mean() < 0.12
        error += inside.mean() * abs(y[inside].mean() - p[inside].mean())
    assert found["calibration"]["error"] == pytest.approx(error)
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(np.log(p / (1 - p)).reshape(-1, 1), y)
    assert found["calibration"]["slope"]["value"] == pytest.approx(line.coef_[0, 0], abs=2e-3)
    assert found["calibration"]["intercept"]["value"] == pytest.approx(line.intercept_[0], abs=4e-3)
    assert found["calibration"]["slope"]["high"] < 1, "the scores are too extreme"

    top = np.argsort(-p)[:400]
    assert found["lift"]["lift"]["value"] == pytest.approx(y[top].mean() / y.mean(), rel=0.01)
    assert found["lift"]["captured"]["value"] == pytest.approx(y[top].sum() / y.sum(), rel=0.01)
    above = p >= report["definition"]["threshold"]
    assert found["at_threshold"]["precision"] == wilson((above & y).sum(), above.sum())
    assert found["at_threshold"]["recall"] == wilson((above & y).sum(), y.sum())
    assert found["at_threshold"]["accuracy"] == wilson((above == y).sum(), len(y))


def test_the_intervals_cover_the_truth_of_repeated_samples(evergreen, tmp_path):
    """Of 60 samples, about 57 intervals hold the AUC and the Brier score of a large sample."""
    p, y = simulated(99, 400_000)
    truth = {"auc": roc_auc_score(y, p), "brier": brier_score_loss(y, p)}
    hits = dict.fromkeys(truth, 0)
    for sample in range(60):
        chosen = slice(5000 + sample * 800, 5000 + (sample + 1) * 800)
        report = evaluate(evergreen, tmp_path, *one_week(p[chosen], y[chosen]))
        for name, value in truth.items():
            found = report["versions"][0]["observed"][name]
            hits[name] += found["low"] <= value <= found["high"]
    assert all(52 <= count <= 60 for count in hits.values()), hits


def test_measures_without_results_are_those_of_the_definition(evergreen, tmp_path):
    """CBPE by its formulas, and by NannyML where `cbpe.json` has its results (scripts/cbpe_nannyml.py)."""
    p, _ = simulated(3)
    report = evaluate(
        evergreen, tmp_path, *one_week(p, np.zeros(len(p), bool)), now=NOW - dt.timedelta(days=55)
    )
    version = report["versions"][0]
    assert version["counts"]["pending"] == len(p) and "observed" not in version
    found, above = version["expected"], p >= report["definition"]["threshold"]
    tp, fp, fn = p[above].sum(), (1 - p[above]).sum(), p[~above].sum()
    tn = (1 - p[~above]).sum()
    assert found["left"] == pytest.approx(p.sum())
    assert found["at_threshold"]["precision"]["value"] == pytest.approx(tp / (tp + fp))
    assert found["at_threshold"]["recall"]["value"] == pytest.approx(tp / (tp + fn))
    assert found["at_threshold"]["f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert found["at_threshold"]["accuracy"]["value"] == pytest.approx((tp + tn) / len(p))
    assert found["brier"]["value"] == pytest.approx((p * (1 - p)).mean())
    order = np.argsort(-p)
    tpr, fpr = np.cumsum(p[order]) / p.sum(), np.cumsum(1 - p[order]) / (1 - p).sum()
    auc = np.trapezoid(np.r_[0, tpr], np.r_[0, fpr])
    assert found["auc"]["value"] == pytest.approx(auc, abs=2e-4)
    # Results drawn from the scores have that AUC and Brier score, within the interval, 19 times of 20.
    random = np.random.default_rng(8)
    drawn = [random.random(len(p)) < p for _ in range(200)]
    inside = [found["auc"]["low"] <= roc_auc_score(y, p) <= found["auc"]["high"] for y in drawn]
    assert 0.9 <= np.mean(inside) <= 1
    inside = [found["brier"]["low"] <= brier_score_loss(y, p) <= found["brier"]["high"] for y in drawn]
    assert 0.9 <= np.mean(inside) <= 0.99
    assert any(
        "only if the relation between features and churn is unchanged" in note
        for note in report["assumptions"]
    )


def test_estimates_without_results_are_those_of_nannyml(evergreen, tmp_path):
    stored = json.loads((Path(__file__).parent / "scripts/cbpe.json").read_text())
    p = np.array(stored["scores"])
    report = evaluate(
        evergreen, tmp_path, *one_week(p, np.zeros(len(p), bool)), now=NOW - dt.timedelta(days=55)
    )
    found = report["versions"][0]["expected"]
    assert report["definition"]["threshold"] == stored["threshold"]
    estimates = stored["estimates"]
    assert found["auc"]["value"] == pytest.approx(estimates["roc_auc"], abs=5e-4)
    for name in ("precision", "recall", "accuracy"):
        assert found["at_threshold"][name]["value"] == pytest.approx(estimates[name], abs=1e-9)
    assert found["at_threshold"]["f1"] == pytest.approx(estimates["f1"], abs=1e-9)


def test_maturity_grace_and_absence_at_explicit_times(evergreen, tmp_path):
    scored_at = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
    events = [
        ("left at once", 1, "left"),
        ("left on the last day", 30, "left"),
        ("left later", 31, "left"),
        ("came back", 5, "left"),
        ("came back", 12, "stayed"),
        ("came back late", 5, "left"),
        ("came back late", 20, "stayed"),
        ("seen at the end", 30, "stayed"),
        ("seen in between", 20, "stayed"),
        ("gone before", -5, "left"),
    ]
    customers = [*dict.fromkeys(name for name, _, _ in events), "nothing known"]
    scored = pd.DataFrame({"customer": customers, "at": scored_at, "score": 0.4, "version": 1})
    outcomes = pd.DataFrame(
        [{"customer": name, "time": at(day, scored_at), "result": result} for name, day, result in events]
    )

    def report(days, absent):
        now = scored_at + dt.timedelta(days=days)
        found = evaluate(
            evergreen, tmp_path, scored, outcomes, now, horizon_days=30, grace_days=10, absent=absent
        )["versions"][0]
        count = found["counts"]
        left = found.get("observed", {}).get("left")
        return [count[key] for key in ("already_left", "pending", "known", "unknown")] + [left]

    # Left: at once, on the last day, and came back late. Known to have stayed: left later, seen at the end.
    for absent, known, unknown in [("unknown", 5, 3), ("stayed", 8, 0)]:
        assert report(39.9, absent) == [1, 8, 0, 0, None]
        assert report(40, absent) == [1, 0, known, unknown, 3]


def on_the_day_of_the_score(day):
    """Outcomes on the day of a score at noon: whether left, and contacted, follow from what people mean by a date."""
    return [
        ("date", {"result": "left", "time": f"{day}"}),
        ("midnight", {"result": "left", "time": f"{day}T00:00:00Z"}),
        ("called", {"result": "left", "time": f"{day}"}),
        ("called", {"action": "call", "time": f"{day}T10:00:00Z"}),
        ("afternoon", {"result": "left", "time": f"{day}T15:00:00Z"}),
        ("morning", {"result": "left", "time": f"{day}T09:00:00Z"}),
    ]


def check_the_day_of_the_score(version):
    assert version["counts"]["already_left"] == 1, "only who left in the morning"
    assert version["observed"]["left"] == version["counts"]["known"] == 4
    assert version["contact"]["contacted"]["scores"] == 1


def test_a_date_of_leaving_is_not_before_the_scores_of_its_day(evergreen, tmp_path):
    rows = on_the_day_of_the_score("2026-03-02")
    outcomes = pd.DataFrame([{"customer": name, **more} for name, more in rows])
    scored = pd.DataFrame(
        {"customer": outcomes["customer"].unique(), "at": pd.Timestamp("2026-03-02T12:00Z"), "score": 0.4}
    )
    check_the_day_of_the_score(evaluate(evergreen, tmp_path, scored, outcomes)["versions"][0])
    # A column of dates.
    dates = outcomes.iloc[:1].assign(time=dt.date(2026, 3, 2))
    dates.to_parquet(tmp_path / "dates.parquet")
    command = [evergreen, "outcomes", "evaluate", "--json", "--bundle", tmp_path / "bundle"]
    command += ["--scores", tmp_path / "scores.parquet", "--outcomes", tmp_path / "dates.parquet"]
    command += ["--now", NOW.isoformat()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    version = json.loads(done.stdout)["versions"][0]
    assert version["counts"]["already_left"] == 0 and version["observed"]["left"] == 1


@STORES
def test_a_date_of_leaving_is_not_before_the_scores_of_its_day_on_a_server(
    evergreen, shim, tmp_path, kind, request
):
    config = settings(tmp_path, kind, request, '[features]\nas_of = ""')
    # A score at noon, 110 days ago.
    now = dt.datetime.now(dt.UTC)
    noon = (now - dt.timedelta(days=110)).replace(hour=12, minute=0, second=0, microsecond=0)
    shift = str(int((noon - now).total_seconds()))
    past = {"LD_PRELOAD": str(shim), "SHIFT": shift, "SHIFTED": str(tmp_path)}
    rows = on_the_day_of_the_score(noon.date())
    ids = dict(zip(dict.fromkeys(name for name, _ in rows), IDS))
    with serving(evergreen, tmp_path, config=config, **past) as server:
        scores(server, list(ids.values()))
        until(lambda: metric(server, "evergreen_outcome_scores_total", result="kept") == len(ids))
        assert server.stop() == 0
    with serving(evergreen, tmp_path, config=config) as server:
        counts(post(server, *({"customer": ids[name], **more} for name, more in rows)))
        check_the_day_of_the_score(performance(server)["versions"][0])


def test_scores_of_one_customer_count_once_in_intervals(evergreen, tmp_path):
    p, y = simulated(4, 500)
    scored, outcomes = one_week(p, y)
    weeks = pd.concat([scored.assign(at=scored["at"] - dt.timedelta(days=7 * week)) for week in range(4)])
    daily = pd.concat([scored.assign(at=scored["at"] + dt.timedelta(hours=hour)) for hour in (0, 1)])
    once = evaluate(evergreen, tmp_path, scored, outcomes, horizon_days=40)["versions"][0]
    assert (
        evaluate(evergreen, tmp_path, daily, outcomes, horizon_days=40)["versions"][0]["counts"]
        == once["counts"]
    )
    four = evaluate(evergreen, tmp_path, weeks, outcomes, horizon_days=40)["versions"][0]
    assert four["counts"]["known"] == 2000 and four["counts"]["customers"] == 500 and len(four["weeks"]) == 4
    for measure in ("rate", "auc", "brier"):
        assert four["observed"][measure] == pytest.approx(once["observed"][measure], rel=0.01), measure
    assert "Of 2,000 scores of 500 customers" in four["text"]


def test_a_whole_log_is_evaluated_by_the_earliest_score_of_each_customer(evergreen, tmp_path):
    p, y = simulated(4, 500)
    scored, outcomes = one_week(p, y)
    once = evaluate(evergreen, tmp_path, scored, outcomes)["versions"]
    name = re.search(r'^name = "(.+)"', (BUNDLE / "bundle.toml").read_text(), re.MULTILINE).group(1)
    # Of a server without feature sources: every feature is in the request.
    scored = scored.assign(model=name, origin="request", overridden='["nps"]')
    later = scored.assign(at=scored["at"] + dt.timedelta(hours=1), score=1 - scored["score"])
    what_if = scored.assign(origin="snapshot", at=scored["at"] - dt.timedelta(hours=1), score=0.5)
    other = scored.assign(model="other", at=scored["at"] - dt.timedelta(hours=1), score=0.5)
    for place, rows in {
        f"model={name}/version=2/date=2026-01-01/aaaaaaaaaaaaaaaa-000001": later,
        f"model={name}/version=2/date=2026-01-01/bbbbbbbbbbbbbbbb-000001": scored,
        f"model={name}/version=2/date=2026-01-02/aaaaaaaaaaaaaaaa-000002": what_if,
        "model=other/version=1/date=2026-01-01/aaaaaaaaaaaaaaaa-000003": other,
    }.items():
        path = tmp_path / "log" / f"{place}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.to_parquet(path)
    command = [evergreen, "outcomes", "evaluate", "--json", "--bundle", tmp_path / "bundle"]
    command += ["--outcomes", tmp_path / "outcomes.csv", "--now", NOW.isoformat(), "--scores"]
    for place in ("log", f"log/model={name}"):
        done = subprocess.run([*command, tmp_path / place], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["versions"] == once
        assert "500 of the scores not counted: what-if requests" in done.stderr


def test_versions_are_compared_by_the_same_rules_and_are_bounded(evergreen, tmp_path):
    p, y = simulated(6, 600)
    scored, outcomes = one_week(p, y)
    versions = pd.concat([scored.assign(version=version) for version in range(1, 13)])
    shadow = scored.assign(version=20, arm="shadow", overridden="false")
    # As the prediction log has it, and as a table of a warehouse may.
    what_if = [scored.assign(version=21, arm="live", overridden=text) for text in ('["nps"]', "true")]
    rows = pd.concat([versions.assign(arm="live", overridden=None), shadow, *what_if])
    report = evaluate(evergreen, tmp_path, rows, outcomes)
    assert [version["version"] for version in report["versions"]] == list(range(12, 4, -1))
    assert report["older_scores"] == 4 * 600
    [first, *others] = [version["observed"] for version in report["versions"]]
    assert all(other == first for other in others)


def test_the_hold_out_measures_the_effect_of_contact(evergreen, tmp_path):
    random = np.random.default_rng(12)
    size = 20_000
    p, held = random.beta(1, 3, size), random.random(size) < 0.2
    at_risk = p >= 0.3
    called = at_risk & ~held
    called[np.flatnonzero(at_risk & held)[:10]] = True
    y = random.random(size) < np.where(called, 0.6 * p, p)
    scored, outcomes = one_week(p, y, hold_out=held)
    ids = scored["customer"]
    calls = pd.DataFrame(
        {"customer": ids[called], "time": at(1, NOW - dt.timedelta(days=60)), "action": "call"}
    )
    report = evaluate(evergreen, tmp_path, scored, pd.concat([outcomes, calls]))
    contact = report["versions"][0]["contact"]
    for group, inside in {"all": np.ones(size, bool), "at_risk": at_risk}.items():
        found = contact[group]
        out, rest = inside & held, inside & ~held
        assert found["hold_out"]["rate"] == wilson((out & y).sum(), out.sum())
        assert found["others"]["rate"] == wilson((rest & y).sum(), rest.sum())
        assert found["contacted_anyway"] == 10
        effect = y[out].mean() - y[rest].mean()
        error = np.sqrt(sum(y[part].var() / part.sum() for part in (out, rest)))
        assert found["effect"]["value"] == pytest.approx(effect)
        # Newcombe's interval is close to the normal one for such numbers.
        assert found["effect"]["low"] == pytest.approx(effect - 1.96 * error, abs=0.002)
    assert contact["at_risk"]["effect"]["low"] > 0.1
    assert (
        "fewer leave when contact is allowed" in contact["text"]
        and "10 of the hold-out were contacted" in contact["text"]
    )
    # The naive comparison has the wrong sign: those at risk are called.
    assert contact["contacted"]["left"] / called.sum() > contact["not_contacted"]["left"] / (~called).sum()


# --- The hold-out in answers -----------------------------------------------------------------------------------------


def test_the_hold_out_is_stable_and_the_same_over_rest_and_grpc(evergreen, tmp_path):
    def held(salt, share=0.05, folder="a"):
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        config = home / "evergreen.toml"
        config.write_text(f'[outcomes]\nhold_out = {share}\nhold_out_salt = "{salt}"\n')
        with serving(evergreen, home, config=config) as server:
            found = {result["id"] for result in scores(server, IDS) if result.get("hold_out")}
            one = min(found)
            assert server.http.get(f"/v1/models/churn/scores/{one}").json()["hold_out"] is True
            with grpc.insecure_channel(server.grpc) as channel:
                entities = [{"text_id": id} for id in IDS[:500]]
                answer = Client(channel)("Score", model="churn", entities=entities)
            by_grpc = {result.text_id for result in answer.results if result.hold_out}
            assert by_grpc == found & set(IDS[:500])
            return found

    first = held("2026")
    assert binomtest(len(first), len(IDS), 0.05).pvalue > 0.001
    assert held("2026", folder="b") == first
    assert held("2026", 0.1) > first
    other = held("2027")
    assert binomtest(len(first & other), len(first), 0.05).pvalue > 0.001


def test_a_log_is_evaluated_by_the_hold_out_of_the_settings(evergreen, tmp_path):
    """The server said of each customer who is held out; its log does not, and the same settings tell it."""
    config = tmp_path / "evergreen.toml"
    log = f'[prediction_log]\nlocation = "{tmp_path}/log"\nsample = 1.0\n'
    config.write_text(f'[outcomes]\nhold_out = 0.3\nhold_out_salt = "2026"\n{log}')
    with serving(evergreen, tmp_path, config=config) as server:
        held = {result["id"] for result in scores(server, IDS[:2000]) if result.get("hold_out")}
        assert server.stop() == 0
    assert binomtest(len(held), 2000, 0.3).pvalue > 0.001
    gone = [*sorted(held)[:50], *sorted(set(IDS[:2000]) - held)[:20]]
    outcomes = pd.DataFrame({"customer": gone, "time": at(1), "result": "left"})
    outcomes.to_csv(tmp_path / "left.csv", index=False)

    def contact(scores, *more):
        command = [evergreen, "outcomes", "evaluate", "--json", "--bundle", BUNDLE, "--now", at(200)]
        command += ["--scores", scores, "--outcomes", tmp_path / "left.csv", *more]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["versions"][0]["contact"]

    found = contact(tmp_path / "log", "--config", config)["all"]
    assert (found["hold_out"]["scores"], found["hold_out"]["left"]) == (len(held), 50)
    assert (found["others"]["scores"], found["others"]["left"]) == (2000 - len(held), 20)
    unknown = contact(tmp_path / "log")
    assert unknown["all"]["hold_out"]["scores"] == 0
    assert "No score says that its customer was held out" in unknown["text"]
    # A column counts rather than the draw.
    rows = {"customer": IDS[:2000], "at": dt.datetime.now(dt.UTC), "score": 0.4, "hold_out": False}
    pd.DataFrame(rows).to_parquet(tmp_path / "table.parquet")
    assert contact(tmp_path / "table.parquet", "--config", config)["all"]["hold_out"]["scores"] == 0


# --- The command line ------------------------------------------------------------------------------------------------


def test_outcomes_of_files_are_sent_to_a_server(evergreen, tmp_path):
    def add(server, file, *more):
        return subprocess.run(
            [evergreen, "outcomes", "add", file, "--server", str(server.http.base_url).rstrip("/"), *more],
            capture_output=True,
            text=True,
        )

    frame = pd.DataFrame({"customer": IDS[:2500], "time": dt.datetime.now(dt.UTC), "result": "left"})
    frame["time"] = frame["time"].dt.floor("s") - pd.Timedelta(days=3)
    frame.to_parquet(tmp_path / "left.parquet")
    frame.to_csv(tmp_path / "left.csv", index=False)
    frame[:100].to_json(tmp_path / "left.jsonl", orient="records", lines=True, date_format="iso")
    with serving(evergreen, tmp_path, config=settings(tmp_path, "folder")) as server:
        done = add(server, tmp_path / "left.parquet", "--model", "churn")
        assert done.stdout == "2500 outcomes recorded, 0 replaced, 0 known already.\n", done.stderr
        done = add(server, tmp_path / "left.csv")
        assert done.stdout == "0 outcomes recorded, 0 replaced, 2500 known already.\n", done.stderr
        done = add(server, tmp_path / "left.jsonl", "--json")
        assert json.loads(done.stdout) == {"recorded": 0, "replaced": 0, "duplicates": 100}, done.stderr
        (tmp_path / "bad.csv").write_text("customer,time,result\nC-1,2001-01-01,left\n")
        done = add(server, tmp_path / "bad.csv")
        assert done.returncode == 2 and "rows 1 to 1" in done.stderr and "keep_days" in done.stderr
        (tmp_path / "bad.csv").write_text("customer,when,result\nC-1,2001-01-01,left\n")
        done = add(server, tmp_path / "bad.csv")
        assert done.returncode == 2 and "expected a column `time`" in done.stderr
        done = add(server, tmp_path / "left.csv", "--model", "chrn")
        assert done.returncode == 2 and "did you mean `churn`?" in done.stderr
    away = subprocess.run(
        [evergreen, "outcomes", "report", "--server", "127.0.0.1:9"], capture_output=True, text=True
    )
    assert away.returncode == 2 and "REST port" in away.stderr


def test_the_story_of_the_documentation(evergreen, tmp_path):
    """docs/outcomes.md shows what the example prints."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples/outcomes.py", evergreen, tmp_path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs/outcomes.md").read_text()
    assert done.stdout.strip() in page, done.stdout
