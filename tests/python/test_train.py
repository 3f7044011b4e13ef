"""models/train.py: the label, point-in-time features, and reproducible output."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

MODELS = Path(__file__).parents[2] / "models"
sys.path.insert(0, str(MODELS))

import train  # noqa: E402

CUTOFF = pd.Timestamp("2026-03-01")


def day(number):
    """Returns the day that many days after the cut-off; None: never."""
    return pd.NaT if number is None else CUTOFF + pd.Timedelta(days=number)


def churned(*periods):
    return train.churned([(day(start), day(end)) for start, end in periods], CUTOFF)


# --- The label -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "periods, expected",
    [
        ([(-100, None)], False),
        ([(-100, 0)], True),  # cancels on the cut-off day: not yet known when scored
        ([(-100, 20)], True),
        ([(-100, 59)], True),
        ([(-100, 60)], False),  # beyond the horizon
        ([(-100, 20), (25, None)], False),  # a pause
        ([(-100, 20), (65, None)], False),  # back on the last day of grace
        ([(-100, 20), (66, None)], True),  # a day too late: churned, then won back
        ([(-100, 59), (104, None)], False),  # the grace period ends after the horizon
        ([(-100, 59), (105, None)], True),
        ([(-100, 10), (20, 50)], True),  # returns, then leaves for good
        ([(-100, 10), (20, 50), (60, None)], False),  # two pauses
        ([(-100, 10), (20, 50), (96, None)], True),
        ([(-100, 50), (80, 90)], False),  # returns; the second leaving is beyond the horizon
        ([(-300, -200), (-100, None)], False),  # left long ago, and returned
        ([(-300, -200), (-100, 20)], True),
        ([(-300, -10), (-1, 20)], True),  # scored during the second subscription
        ([(25, None), (-100, 20)], False),  # in any order
    ],
)
def test_label(periods, expected):
    assert churned(*periods) is expected


@pytest.mark.parametrize("periods", [[], [(-100, -1)], [(0, None)], [(-100, -20), (5, None)]])
def test_only_subscribers_have_a_label(periods):
    with pytest.raises(ValueError, match="not subscribed on 2026-03-01"):
        churned(*periods)


def test_a_label_that_is_not_yet_known_is_refused(history):
    last = train.TODAY - train.HORIZON - train.GRACE
    train.label(history, last, train.features(history, last).index)
    with pytest.raises(ValueError, match="known only from 2026-11-22 on"):
        train.label(history, last + pd.Timedelta(days=1), pd.Index([]))


def test_training_labels_were_known_on_the_evaluation_date():
    assert max(train.TRAIN_ON) + train.HORIZON + train.GRACE < train.EVALUATE_ON


# --- Point-in-time features ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history():
    return train.simulate(customers=600)


def test_the_story_has_pauses_and_returns_after_churn(history):
    periods = history.periods.sort_values(["customer", "at"])
    gaps = periods["at"] - periods.groupby("customer")["end"].shift()
    assert (gaps.dropna() > pd.Timedelta(0)).all()
    assert (gaps <= train.GRACE).sum() > 20 and (gaps > train.GRACE).sum() > 5


def test_the_future_does_not_leak(history):
    """Changes to events on or after the cut-off change no feature."""
    rng = np.random.default_rng(0)
    altered = {}
    for name, table in vars(history).items():
        past, future = table[table["at"] < CUTOFF].copy(), table[table["at"] >= CUTOFF].copy()
        for later in {"end", "paid"} & set(table.columns):
            unknown = past[later].isna() | (past[later] >= CUTOFF)
            past.loc[unknown, later] = CUTOFF + pd.to_timedelta(rng.integers(0, 200, unknown.sum()), unit="D")
        future["customer"] = rng.permutation(future["customer"])
        for column in future.select_dtypes("number").columns.drop("customer"):
            future[column] = future[column] * 7 + 1
        altered[name] = pd.concat([future, past, future])
    altered["customers"] = history.customers  # customers who sign up later must exist, for their events
    before = train.features(history, CUTOFF)
    after = train.features(train.History(**altered), CUTOFF)
    pd.testing.assert_frame_equal(before, after)
    assert len(before) > 200 and before.notna().any().all()


def test_the_past_does_count(history):
    """The reverse: an event on the day before the cut-off counts, one on the cut-off day does not."""
    who = train.features(history, CUTOFF).index[0]
    seen = {}
    for when in (-1, 0):
        call = pd.DataFrame({"customer": [who], "at": [day(when)], "minutes": [500.0]})
        more = train.History(**{**vars(history), "calls": pd.concat([history.calls, call])})
        seen[when] = train.features(more, CUTOFF).loc[who, "support_minutes_90d"]
    assert seen[-1] == seen[0] + 500


def test_features_are_those_of_the_subscribers(history):
    table = train.features(history, CUTOFF)
    assert list(table.columns) == list(train.LABELS)
    assert table.index.is_unique
    periods = history.periods
    subscribed = periods[(periods["at"] < CUTOFF) & ~(periods["end"] < CUTOFF)]
    assert sorted(subscribed["customer"]) == sorted(table.index)


# --- Existing files --------------------------------------------------------------------------------------------------


def test_check_passes(capsys):
    assert train.check() == 0, capsys.readouterr().err
    assert "6 files are what train.py makes" in capsys.readouterr().out


def test_check_names_the_file_that_differs(monkeypatch, capsys):
    def write(models):
        for file in train.FILES:
            (models / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(MODELS / file, models / file)
        with (models / "churn/1/model.ubj").open("r+b") as file:
            file.write(b"!")

    monkeypatch.setattr(train, "write", write)
    assert train.check() == 1
    assert capsys.readouterr().err.startswith("not what train.py makes: churn/1/model.ubj\n")


def test_customers():
    table = pd.read_parquet(MODELS / "customers.parquet")
    assert table["customer_id"].is_unique and "C-1042" in set(table["customer_id"])
    assert list(table.columns) == ["customer_id", *train.LABELS, "as_of"]
    assert 2500 < len(table) < 4000
    assert sum((MODELS / file).stat().st_size for file in train.FILES) < 1_000_000
