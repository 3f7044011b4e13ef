"""`evergreen init`: from the model files of each library and sample rows to a server whose scores are the library's."""

import re
import subprocess
import tomllib

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
import yaml

from evergreen_serving import save_bundle
from evergreen_testing.server_process import serving
from test_kubernetes import program

ROWS = 1500
PLANS = ["basic", "plus", "pro"]


@pytest.fixture(scope="module")
def frame():
    """Returns rows with an id, numbers of several kinds, a category and missing values."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        {
            "customer_id": [f"C-{number}" for number in range(ROWS)],
            "tenure": rng.integers(0, 72, ROWS),
            "charges": rng.gamma(3, 30, ROWS).round(2),
            "senior": rng.random(ROWS) < 0.2,
            "plan": pd.Categorical(rng.choice(PLANS, ROWS), categories=PLANS),
            "balance": rng.normal(0, 100, ROWS),
        }
    )
    frame.loc[rng.random(ROWS) < 0.1, "balance"] = np.nan
    frame["note"] = "not a feature"
    return frame


FEATURES = ["tenure", "charges", "senior", "plan", "balance"]


def labels(frame):
    signal = frame["charges"] / 50 - frame["tenure"] / 30 + (frame["plan"] == "pro") + frame["senior"]
    return (signal > signal.median()).astype(int)


def xgboost_model(frame, folder):
    data = xgboost.DMatrix(frame[FEATURES], labels(frame), enable_categorical=True)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 20)
    model.save_model(folder / "churn.ubj")
    return folder / "churn.ubj", model.predict(data).astype("float64")


def lightgbm_model(frame, folder):
    # Without categories: the file of LightGBM does not say which column had which.
    rows = frame[FEATURES].assign(plan=frame["plan"].cat.codes)
    model = lightgbm.train(
        {"objective": "binary", "verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, labels(frame)), 20
    )
    model.save_model(folder / "churn.txt")
    return folder / "churn.txt", model.predict(rows)


def catboost_model(frame, folder):
    rows = frame[FEATURES].astype({"plan": str})
    model = catboost.CatBoostClassifier(
        iterations=20, verbose=0, allow_writing_files=False, thread_count=1, one_hot_max_size=10
    )
    model.fit(rows, labels(frame), cat_features=["plan"])
    model.save_model(str(folder / "churn.json"), format="json")
    return folder / "churn.json", model.predict_proba(rows)[:, 1]


LIBRARIES = {"xgboost": xgboost_model, "lightgbm": lightgbm_model, "catboost": catboost_model}


def init(evergreen, *arguments, code=0, cwd=None):
    command = [evergreen, "init", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done


def write(frame, library, path):
    rows = frame.assign(plan=frame["plan"].cat.codes if library == "lightgbm" else frame["plan"].astype(str))
    (rows.to_parquet if path.suffix == ".parquet" else rows.to_csv)(path, index=False)
    return path


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_folder_serves_the_librarys_bits(evergreen, tmp_path, frame, library, ending):
    model, expected = LIBRARIES[library](frame, tmp_path)
    rows = write(frame, library, tmp_path / f"rows.{ending}")
    done = init(evergreen, "--model", model, "--rows", rows, tmp_path / "out")
    folder = tmp_path / "out"
    assert re.search(r"output +probability: the objective is \S+", done.stdout)
    assert "id      customer_id" in done.stdout and "bundle.toml, and check it" in done.stdout
    bundle = folder / "models/churn/1"
    checked = subprocess.run([evergreen, "check", bundle], capture_output=True, text=True)
    assert checked.returncode == 0 and "may go live" in checked.stdout, checked.stdout
    contract = tomllib.loads((bundle / "bundle.toml").read_text())
    kinds = {feature["name"]: feature["type"] for feature in contract["feature"]}
    assert list(kinds) == FEATURES and contract["model"]["entity"] == "customer_id"
    assert kinds["senior"] == "bool"
    assert kinds["balance"] == kinds["charges"] == "float"
    if library != "lightgbm":
        [plan] = [feature for feature in contract["feature"] if feature["name"] == "plan"]
        assert plan["type"] == "category" and plan["categories"] == PLANS
    low, high = next(feature["range"] for feature in contract["feature"] if feature["name"] == "charges")
    assert low == 0 and frame["charges"].max() < high < 3 * frame["charges"].max()
    ids = frame["customer_id"].tolist()
    with serving(
        evergreen, tmp_path, models=None, customers=None, config=folder / "evergreen.toml"
    ) as server:
        found = server.http.post("/v1/score", json={"model": "churn", "entities": [{"id": id} for id in ids]})
        scores = np.array([result["score"] for result in found.json()["results"]])
        assert {result["status"] for result in found.json()["results"]} == {"ok"}
    differ = int((scores.view("uint64") != np.asarray(expected).view("uint64")).sum())
    assert differ == 0, f"{differ} of {ROWS} scores differ"


def test_the_compose_file_and_the_overlay_are_valid(evergreen, tmp_path, frame):
    model, _ = xgboost_model(frame, tmp_path)
    folder = tmp_path / "out"
    init(
        evergreen,
        "--model",
        model,
        "--rows",
        write(frame, "xgboost", tmp_path / "rows.csv"),
        "--name",
        "Big.Churn",
        folder,
    )
    compose = yaml.safe_load((folder / "compose.yaml").read_text())
    service = compose["services"]["evergreen"]
    assert service["image"].startswith("evergreen:") and service["volumes"] == [".:/srv/evergreen:ro"]
    assert service["command"] == ["serve", "--config", "/srv/evergreen/evergreen.toml"]
    assert {port.rpartition(":")[2] for port in service["ports"]} == {"8080", "8081", "8082"}
    built = subprocess.run(
        [program("kubectl"), "kustomize", str(folder / "k8s")], capture_output=True, text=True
    )
    assert built.returncode == 0 and "Warning" not in built.stderr, built.stderr
    documents = [document for document in yaml.safe_load_all(built.stdout) if document]
    kinds = {document["kind"] for document in documents}
    assert {"Deployment", "Service", "ConfigMap", "NetworkPolicy", "HorizontalPodAutoscaler"} <= kinds
    [deployment] = [document for document in documents if document["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "big.churn-server:1"
    [settings] = [document for document in documents if document["kind"] == "ConfigMap"]
    text = tomllib.loads(settings["data"]["evergreen.toml"])
    assert (
        text["features"]["snapshot"] == "/srv/evergreen/customers.csv"
        and (folder / "customers.csv").is_file()
    )
    assert "COPY customers.csv" in (folder / "Dockerfile").read_text()
    for path in folder.rglob("*"):
        assert not path.is_file() or path.suffix in (".csv", ".ubj") or "{{" not in path.read_text()
    assert "Big.Churn" in (folder / "README.md").read_text()


def test_names_are_found_and_nothing_is_overwritten(evergreen, tmp_path, frame):
    xgboost_model(frame, tmp_path)
    write(frame, "xgboost", tmp_path / "rows.csv")
    init(evergreen, cwd=tmp_path)
    assert (tmp_path / "churn/models/churn/1/bundle.toml").is_file()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "churn").rglob("*")}
    refused = init(evergreen, "--model", "churn.ubj", "--rows", "rows.csv", cwd=tmp_path, code=2)
    assert "churn: exists and is not empty" in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "churn").rglob("*")} == before
    (tmp_path / "other.ubj").write_bytes(b"x")
    assert "churn.ubj, other.ubj; name one" in init(evergreen, cwd=tmp_path, code=2).stderr
    assert not list(tmp_path.glob(".evergreen-init*"))


def test_what_does_not_fit_is_named(evergreen, tmp_path, frame):
    model, _ = xgboost_model(frame, tmp_path)

    def refused(rows, *more, model=model):
        rows.to_csv(tmp_path / "rows.csv", index=False)
        ended = init(
            evergreen, "--model", model, "--rows", tmp_path / "rows.csv", tmp_path / "out", *more, code=2
        )
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".evergreen-init*"))
        return ended.stderr

    text = refused(frame.drop(columns=["charges"]).rename(columns={"tenure": "tenures"}))
    assert "the model and the rows do not match" in text and "`tenure`" in text and "`tenures`" in text
    text = refused(frame.drop(columns=["customer_id"]))
    assert "expected an id column" in text and "`note`" in text and "--id" in text
    text = refused(frame.assign(order_id=1))
    assert "`customer_id` and `order_id` could be the id" in text
    assert "occurs twice in `customer_id`" in refused(pd.concat([frame, frame.head(1)]))
    assert "no column `customers`" in refused(frame, "--id", "customers")
    strange = frame.astype({"plan": object})
    strange.loc[7, "plan"] = "gold"
    text = refused(strange)
    assert "feature `plan`, row 8" in text and "it knows basic, plus, pro" in text
    wrong = frame.astype({"charges": object})
    wrong.loc[3, "charges"] = "much"
    text = refused(wrong)
    assert "feature `charges`" in text and "row 4" in text and '"much"' in text
    assert "expected FEATURE=TYPE" in refused(frame, "--type", "charges")
    assert "did you mean `charges`" in refused(frame, "--type", "charge=int")
    assert "expected rows, found none" in refused(frame.head(0))
    bad = tmp_path / "bad.ubj"
    bad.write_bytes(b"{L")
    assert "bad.ubj: " in refused(frame, model=bad)


def test_a_model_without_names_is_matched_by_position_only_if_that_is_asked(evergreen, tmp_path, frame):
    numbers = frame[["tenure", "charges", "balance"]].astype("float32")
    data = xgboost.DMatrix(numbers.to_numpy(), labels(frame))
    model = xgboost.train({"objective": "reg:squarederror", "nthread": 1}, data, 5)
    model.save_model(tmp_path / "plain.json")
    rows = numbers.assign(customer_id=frame["customer_id"])
    rows.to_parquet(tmp_path / "rows.parquet")
    common = ["--model", tmp_path / "plain.json", "--rows", tmp_path / "rows.parquet", tmp_path / "out"]
    refused = init(evergreen, *common, code=2)
    assert "has no names of features" in refused.stderr and "--by-position" in refused.stderr
    done = init(evergreen, *common, "--by-position")
    assert "value: the objective reg:squarederror has no probability" in done.stdout
    out = tmp_path / "scores.parquet"
    command = [
        evergreen,
        "score",
        "--model",
        tmp_path / "out/models/plain/1",
        "--input",
        tmp_path / "rows.parquet",
        "--output",
        out,
    ]
    assert subprocess.run(command, capture_output=True).returncode == 0
    found = pd.read_parquet(out)["value"].to_numpy()
    assert (found.view("uint32") == model.predict(data).view("uint32")).all()


def scores(evergreen, bundle, rows):
    """Returns the probabilities that `evergreen score` gives the rows of a file."""
    out = rows.with_name("scores.parquet")
    command = [evergreen, "score", "--model", bundle, "--input", rows, "--output", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pd.read_parquet(out)["probability"].to_numpy()


def test_categories_of_lightgbm_of_one_reading_are_the_librarys(evergreen, tmp_path, frame):
    model = lightgbm.train(
        {"objective": "binary", "verbose": -1}, lightgbm.Dataset(frame[FEATURES], labels(frame)), 5
    )
    model.save_model(tmp_path / "model.txt")
    rows = write(frame, "xgboost", tmp_path / "rows.csv")
    done = init(evergreen, "--model", tmp_path / "model.txt", "--rows", rows, tmp_path / "out")
    assert re.search("plan +category +basic, plus, pro +the model names its categories", done.stdout)
    assert (scores(evergreen, tmp_path / "out/models/model/1", rows) == model.predict(frame[FEATURES])).all()


def test_categories_of_lightgbm_ask_for_a_bundle(evergreen, tmp_path, frame):
    """The file has a list of two numbers, which may be the categories of `zone` or of `senior`."""
    zone = pd.Categorical(np.where(frame["plan"] == "pro", 20, 10), categories=[20, 10])
    features = frame[["charges", "senior"]].assign(senior=frame["senior"].astype(int), zone=zone)
    target = labels(frame) ^ (frame["plan"] == "pro")
    options = {"objective": "binary", "verbose": -1, "num_threads": 1}
    model = lightgbm.train(options, lightgbm.Dataset(features, target), 5)
    model.save_model(tmp_path / "model.txt")
    rows = tmp_path / "rows.csv"
    features.assign(customer_id=frame["customer_id"]).to_csv(rows, index=False)

    def refused(*more):
        command = ["--model", tmp_path / "model.txt", "--rows", rows, *more, tmp_path / "out"]
        ended = init(evergreen, *command, code=2)
        assert not (tmp_path / "out").exists() and "save_bundle" in ended.stderr
        return ended.stderr

    assert "feature `senior`: the model file does not say whether it has categories" in refused()
    numbers = "--type", "senior=int"
    assert "feature `zone`: the model file does not say whether it has categories" in refused(*numbers)
    text = refused(*numbers, "--type", "zone=category")
    assert "feature `zone`: the model file does not say the order of its categories" in text
    # The bundle that it asks for; the wrong order would give other scores.
    bundle = save_bundle(model, features, tmp_path / "models/model/1", entity="customer_id")
    expected = model.predict(features)
    assert (scores(evergreen, bundle, rows) == expected).all()
    swapped = features.assign(zone=features["zone"].cat.rename_categories({10: 20, 20: 10}))
    assert (model.predict(swapped) != expected).any()
