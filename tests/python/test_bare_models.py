"""Model files without a contract: the library's own numbers, or a refusal that says what to do."""

import json
import subprocess

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from evergreen_testing.bundle_models import CASES, ModelCase, frame, labels


def inspect(evergreen, path):
    """Returns the features of a model file by name."""
    done = subprocess.run([evergreen, "inspect", "--json", path], capture_output=True, text=True, check=True)
    return {feature["name"]: feature for feature in json.loads(done.stdout)["features"]}


def score(evergreen, folder, model, rows, kind):
    """Scores a frame with a model file, and returns one number per row."""
    rows.assign(id=range(len(rows))).to_json(
        folder / "rows.jsonl", orient="records", lines=True, double_precision=15
    )
    command = [evergreen, "score", "--model", model, "--input", folder / "rows.jsonl", "--id", "id"]
    subprocess.run(
        [*command, "--output", folder / "out.jsonl", "--kind", kind], check=True, capture_output=True
    )
    return np.array([json.loads(line)[kind] for line in (folder / "out.jsonl").read_text().splitlines()])


def asked(rows, features):
    """Returns the rows as a client has to send them: the names of categories where the file names them, else codes."""
    out = rows.copy()
    for name in rows:
        if isinstance(rows[name].dtype, pd.CategoricalDtype):
            named = isinstance(features[name.replace(" ", "_")]["categories"], list)
            out[name] = rows[name].astype(object) if named else rows[name].cat.codes
    return out


LIGHTGBM_CATEGORIES = [
    case
    for case in CASES
    if case.name.startswith("lightgbm") and set(case.columns) - {"spend", "calls", "flag"}
]


@pytest.mark.parametrize("case", LIGHTGBM_CATEGORIES, ids=[case.name for case in LIGHTGBM_CATEGORIES])
def test_lists_of_categories_belong_to_the_right_columns(evergreen, tmp_path, case: ModelCase):
    """The file lists the categories of columns, and does not say of which. A wrong guess gives wrong scores silently."""
    rows = frame(case.columns, missing=False)
    model = case.train(rows, labels(rows, "two"))
    model.save_model(tmp_path / "m.txt")
    truth = model.predict(rows, raw_score=True)
    if "twocode" not in case.columns:
        sent = asked(rows, inspect(evergreen, tmp_path / "m.txt"))
        assert (score(evergreen, tmp_path, tmp_path / "m.txt", sent, "margin") == truth).all()
    # The frame as the library takes it: the same numbers, or a text that is refused.
    natural = rows.astype(dict.fromkeys(rows.select_dtypes("category"), object))
    try:
        found = score(evergreen, tmp_path, tmp_path / "m.txt", natural, "margin")
    except subprocess.CalledProcessError as error:
        refusal = error.stderr.decode()
    else:
        refusal = "" if (found == truth).all() else "other numbers"
    assert refusal == "" or "expected a number, found the text" in refusal


def test_the_reported_case_names_its_plan(evergreen, tmp_path):
    columns = ("one", "plan", "code", "ordered", "spend")
    case = next(case for case in CASES if case.columns == columns)
    rows = frame(columns, missing=False)
    case.train(rows, labels(rows, "two")).save_model(tmp_path / "m.txt")
    features = inspect(evergreen, tmp_path / "m.txt")
    assert features["plan"]["categories"] == list(rows["plan"].cat.categories)
    assert features["code"]["categories"] == "codes"


@pytest.mark.parametrize("name", ["a\tb", "a b", "a\u00a0b", "a\x0cb"])
def test_lightgbm_divides_names_at_blanks_only(evergreen, tmp_path, name):
    rows = frame(("spend", "calls"), missing=False).rename(columns={"spend": name})
    data = lightgbm.Dataset(rows, labels(rows, "two"))
    model = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 5)
    model.save_model(tmp_path / "m.txt")
    assert list(inspect(evergreen, tmp_path / "m.txt")) == model.feature_name()
    sent = rows.set_axis(model.feature_name(), axis=1)
    found = score(evergreen, tmp_path, tmp_path / "m.txt", sent, "margin")
    assert (found == model.predict(rows, raw_score=True)).all()


@pytest.mark.parametrize(
    "names", [["café", "naïve", "plain"], ["Perú", "Chile"], ["да", "нет"], ["서울", "부산"], ["éa", "b"]]
)
def test_names_that_xgboost_garbles_leave_the_codes(evergreen, tmp_path, names):
    rng = np.random.default_rng(3)
    rows = pd.DataFrame(
        {"town": pd.Categorical(rng.choice(names, 300), categories=names), "n": rng.random(300)}
    )
    data = xgboost.DMatrix(rows, rows["town"].cat.codes % 2, enable_categorical=True)
    model = xgboost.train({"objective": "binary:logistic", "nthread": 1}, data, 5)
    for file in ("m.json", "m.ubj"):
        model.save_model(tmp_path / file)
        features = inspect(evergreen, tmp_path / file)
        assert features["town"]["categories"] == "codes"
        found = score(evergreen, tmp_path, tmp_path / file, asked(rows, features), "margin")
        assert (found == model.predict(data, output_margin=True)).all()


@pytest.mark.parametrize("objective", ["binary:logistic", "count:poisson", "reg:tweedie"])
def test_a_model_without_rounds_predicts_its_base(evergreen, tmp_path, objective):
    rows = frame(("spend", "calls"), missing=False)
    for params in ({}, {"base_score": 0.3}):
        data = xgboost.DMatrix(rows, labels(rows, "two"))
        model = xgboost.train({"objective": objective, **params}, data, 0)
        model.save_model(tmp_path / "m.ubj")
        assert (score(evergreen, tmp_path, tmp_path / "m.ubj", rows, "value") == model.predict(data)).all()


@pytest.mark.parametrize("threshold", [None, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("scale", [1.0, 1e-17])
def test_catboost_chooses_the_class_by_its_raw_sum(evergreen, tmp_path, threshold, scale):
    rows = frame(("spend", "calls"), missing=False)
    model = catboost.CatBoostClassifier(iterations=10, verbose=0, allow_writing_files=False)
    model.fit(rows, labels(rows, "two"))
    model.set_probability_threshold(threshold)
    model.set_scale_and_bias(scale, [0.0])
    model.save_model(str(tmp_path / "m.json"), format="json")
    assert (score(evergreen, tmp_path, tmp_path / "m.json", rows, "class") == model.predict(rows)).all()


def test_files_that_are_no_models_say_what_to_save_instead(evergreen, tmp_path):
    rows = frame(("spend", "calls"), missing=False)
    target = labels(rows, "two")
    tree = xgboost.train({}, xgboost.DMatrix(rows, target), 2)
    leaf = lightgbm.train({"verbose": -1}, lightgbm.Dataset(rows, target), 2)
    (tmp_path / "dump.json").write_text(
        json.dumps([json.loads(t) for t in tree.get_dump(dump_format="json")])
    )
    tree.dump_model(str(tmp_path / "dump.txt"))
    (tmp_path / "light.json").write_text(json.dumps(leaf.dump_model()))
    tree.save_model(tmp_path / "m.json")
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "m.json").read_bytes())
    for file, says in {
        "dump.json": 'the JSON of XGBoost\'s dump_model, which lacks the objective; use save_model("model.ubj")',
        "dump.txt": "the text of XGBoost's dump_model",
        "light.json": 'the JSON of LightGBM\'s dump_model; use save_model("model.txt")',
        "bom.json": "byte order mark",
    }.items():
        done = subprocess.run([evergreen, "inspect", tmp_path / file], capture_output=True, text=True)
        assert done.returncode == 2 and says in done.stderr, done.stderr
        assert f"/{file}: byte" in done.stderr, "no slash after the name"


def random_categories(seed):
    """Returns a model of LightGBM and its table: columns of categories and numbers, some declared by hand."""
    rng = np.random.default_rng(seed)
    columns = {}
    for position in range(int(rng.integers(2, 7))):
        length = int(rng.integers(1, 5))
        names = [f"c{number}" for number in range(length)]
        kind = rng.choice(["text", "ordered", "number", "numbers", "flag", "flags", "float", "rare"])
        columns[f"x{position}"] = {
            "text": lambda names=names: pd.Categorical(rng.choice(names, 400), categories=names),
            "ordered": lambda names=names: pd.Categorical(
                rng.choice(names, 400), categories=names, ordered=True
            ),
            "number": lambda length=length: rng.integers(0, length + 1, 400),
            "numbers": lambda length=length: pd.Categorical(rng.integers(0, length, 400) * 3),
            "flag": lambda: rng.random(400) < 0.5,
            "flags": lambda: pd.Categorical(rng.random(400) < 0.5),
            "float": lambda: rng.random(400),
            "rare": lambda names=names: pd.Categorical(rng.choice(names, 400), categories=[*names, "never"]),
        }[kind]()
    rows = pd.DataFrame(columns)
    signal = sum(pd.Series(pd.factorize(rows[name])[0]) % 2 for name in rows) + rng.normal(0, 0.3, 400)
    by_hand = [name for name in rows if rng.random() < 0.5 and rows[name].dtype.kind != "f"]
    declared = "auto" if rng.random() < 0.4 else by_hand
    data = lightgbm.Dataset(rows, (signal > signal.median()).astype(int), categorical_feature=declared)
    settings = {
        "min_data_per_group": 1,
        "cat_smooth": 1,
        "min_data_in_leaf": 2,
        "verbose": -1,
        "num_threads": 1,
    }
    return lightgbm.train({"objective": "binary", **settings}, data, 8), rows


def test_random_categories_are_right_or_refused(evergreen, tmp_path):
    """Never silently other numbers: what the file does not say is refused."""
    equal = 0
    for seed in range(60):
        try:
            model, rows = random_categories(seed)
        except lightgbm.basic.LightGBMError:
            continue
        model.save_model(tmp_path / "m.txt")
        natural = rows.copy()
        for name in rows.select_dtypes("category"):
            kind = rows[name].cat.categories.dtype.kind
            natural[name] = rows[name].astype({"b": bool, "i": "int64"}.get(kind, object))
        try:
            found = score(evergreen, tmp_path, tmp_path / "m.txt", natural, "margin")
        except subprocess.CalledProcessError:
            continue
        assert (found == model.predict(rows, raw_score=True)).all(), (
            seed,
            inspect(evergreen, tmp_path / "m.txt"),
        )
        equal += 1
    assert equal > 20
