"""Alerts and dashboards: valid, tested, documented, and about metrics that the program has. `tests/soak/alerts.py` lets every
alert fire against running servers; the one on calibration does so here too, because its metrics rest on months of outcomes."""

import json
import re
import shutil
import subprocess
import time

import pytest
import yaml

from evergreen_testing import clock
from evergreen_testing.judged_scores import JudgedServer
from evergreen_testing.paths import ROOT
from evergreen_testing.processes import program, until
from evergreen_testing.prometheus import fast_rules, prometheus, rules
from evergreen_testing.sample_customers import IDS, scores

RULES = [rule for group in rules()["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
DASHBOARDS = sorted((ROOT / "k8s/components/grafana-dashboards").glob("*.json"))
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
UNIT_TESTS = ROOT / "tests/prometheus/alerts.yaml"


def promtool(folder, *words):
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules()))
    shutil.copy(UNIT_TESTS, folder)
    done = subprocess.run([program("promtool"), *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules(tmp_path):
    assert f"SUCCESS: {len(RULES)} rules found" in promtool(
        tmp_path, "check", "rules", "--lint-fatal", "rules.yaml"
    )


def test_every_alert_fires_in_a_unit_test(tmp_path):
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", "alerts.yaml")
    tests = yaml.safe_load(UNIT_TESTS.read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    assert fired == ALERTS.keys()


def test_every_alert_has_a_section_in_the_runbook():
    assert re.findall(r"^## (Evergreen\w+)$", RUNBOOK, re.M) and ALERTS
    assert set(re.findall(r"^## (Evergreen\w+)$", RUNBOOK, re.M)) == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert rule["annotations"]["summary"].endswith(".") and rule["labels"]["severity"] in (
            "page",
            "ticket",
        )
        section = RUNBOOK.split(f"## {name}\n")[1].split("\n## ")[0]
        assert "\n- Do" in section or "\n- Check and do" in section or "\n- Check" in section


def panels():
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield path.stem, panel["title"], target["expr"]


def test_rules_panels_and_the_runbook_name_metrics_that_exist():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    declared = set(re.findall(r"^\| `(evergreen_\w+)`", page, re.M))
    texts = [rule["expr"] for rule in RULES] + [expression for _, _, expression in panels()] + [RUNBOOK]
    for text in texts:
        for name in re.findall(r"\bevergreen_\w+", text):
            assert name in declared or re.sub(r"_(bucket|count|sum)$", "", name) in declared, name


def test_dashboards_can_be_imported():
    assert [path.stem for path in DASHBOARDS] == ["data", "model", "service"]
    uids = set()
    for path in DASHBOARDS:
        dashboard = json.loads(path.read_text())
        assert "id" not in dashboard and dashboard["schemaVersion"] >= 39
        uids.add(dashboard["uid"])
        places = [tuple(panel["gridPos"].values()) for panel in dashboard["panels"]]
        assert len(set(places)) == len(places) and all(x + w <= 24 for x, _, w, _ in places)
        known = {"datasource", *(entry["name"] for entry in dashboard["templating"]["list"])}
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(dashboard["panels"])))
        assert used <= known | {"__rate_interval"}
    assert len(uids) == 3


@pytest.fixture(scope="module")
def observed(evergreen, server, tmp_path_factory):
    """A Prometheus that has watched a server with a snapshot, one with Redis while it answered requests, and one whose
    scores have outcomes."""
    from evergreen_testing.feature_stores import redis_server
    from evergreen_testing.sample_customers import fill
    from evergreen_testing.server_process import serving

    folder = tmp_path_factory.mktemp("observed")
    with redis_server(folder / "redis") as store, JudgedServer(evergreen, folder) as judged:
        import redis

        judged.score_long_ago(clock.build(folder), IDS)
        judged.start()
        judged.record(judged.as_promised())

        fill(redis.Redis(port=store.port))
        config = folder / "evergreen.toml"
        config.write_text(
            '[features]\ndefault = "online"\n[source.online.redis]\nkey = "customer:{id}"\n'
            f'[source.online.redis.server]\nurls = ["{store.url}"]\n[outcomes]\nfolder = "outcomes"\n'
            '[prediction_log]\nlocation = "log"\nsample = 1.0\nrow_group_seconds = 1\n'
        )
        judges = f"127.0.0.1:{judged.ports['ops']}"
        with (
            serving(evergreen, folder, customers=None, config=config) as online,
            prometheus(
                folder, [judges, *(one.ops.base_url.netloc.decode() for one in (online, server))]
            ) as watching,
        ):
            for round in range(12):
                scores(online, IDS[: 300 * (1 + round % 3)])
                for id in IDS[:20]:
                    online.http.get(f"/v1/models/churn/scores/{id}?explain=3")
                online.http.get("/v1/models/churn/scores/nobody")
                until(lambda: watching.query("evergreen_build_info"))
            fresh = iter(IDS[900:])

            def seen_fetching():
                online.http.get(f"/v1/models/churn/scores/{next(fresh)}")
                return watching.query("rate(evergreen_source_seconds_count[1m]) > 0")

            until(seen_fetching)
            until(lambda: watching.query('evergreen_performance{measure="known"} > 0'))
            yield watching


def test_every_panel_has_data(observed):
    """With the variables as Grafana fills them in."""
    empty = []
    for dashboard, title, expression in panels():
        for variable, value in {"$model": "churn", "$instance": ".*", "$__rate_interval": "1m"}.items():
            expression = expression.replace(variable, value)
        if not observed.query(expression):
            empty.append((dashboard, title, expression))
    assert not empty


def test_alerts_are_evaluated_without_errors(observed):
    names = {rule.get("alert", rule.get("record")) for rule in RULES}

    def evaluated():
        groups = observed.http.get("/api/v1/rules").json()["data"]["groups"]
        found = {rule["name"]: rule for group in groups for rule in group["rules"]}
        return found.keys() == names and all(rule["health"] == "ok" for rule in found.values())

    until(evaluated)


def test_a_faster_pace_changes_windows_only():
    for rule, fast in zip(RULES, [rule for group in fast_rules(60)["groups"] for rule in group["rules"]]):
        strip = lambda text: re.sub(r"\[\w+\]", "[]", text)  # noqa: E731
        assert strip(rule["expr"]) == strip(fast["expr"])


def test_outcomes_against_the_scores_raise_the_alert_on_calibration_until_they_agree(evergreen, tmp_path):
    pace = 1200
    every = [rule for group in fast_rules(pace)["groups"] for rule in group["rules"]]
    [waits] = [rule["for"] for rule in every if rule.get("alert") == "EvergreenCalibration"]
    with JudgedServer(evergreen, tmp_path) as judged:
        judged.score_long_ago(clock.build(tmp_path), IDS)
        judged.start()
        judged.record(judged.as_promised())
        with prometheus(tmp_path, [f"127.0.0.1:{judged.ports['ops']}"], pace) as watching:

            def left():
                measure = 'evergreen_performance{{measure="{}"}}'.format
                found = watching.query(f"{measure('left_rate')} * ignoring(measure) {measure('known')}")
                return round(float(found[0]["value"][1])) if found else None

            def fires():
                return "EvergreenCalibration" in watching.firing()

            promised, contradiction = judged.as_promised(), judged.against_the_scores()
            until(lambda: left() == len(promised))
            end = time.monotonic() + 3 * float(waits.removesuffix("ms")) / 1000
            while time.monotonic() < end:
                assert not fires()
                time.sleep(0.2)
            judged.record(contradiction)
            until(fires)
            assert left() == len(contradiction)
            judged.record(promised)
            until(lambda: not fires())
            assert left() == len(promised)
