"""Train the sample model, which predicts churn at a mattress rental company.

The company rents mattresses to mattress start-ups, which need them for show rooms, trial nights and fairs. Start-ups
often cancel and return. This script simulates three years of their raw events, computes features as they were known
on past dates, trains XGBoost on them, evaluates it on a later date, and writes

    models/churn/1            the bundle that Evergreen serves
    models/customers.parquet  the latest features of today's customers
    models/README.md          the evaluation, in the model card

    python models/train.py            write them
    python models/train.py --check    verify that the existing files match the output of this script
"""

from __future__ import annotations

import argparse
import datetime as dt
import filecmp
import importlib.metadata
import re
import sys
import tempfile
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).parent
# The package as it is in this checkout; elsewhere: pip install evergreen-serving.
sys.path.insert(0, str(HERE.parent / "python/serving/src"))
from evergreen_serving import save_bundle  # noqa: E402

SEED = 32

YEAR = 365  # days
HORIZON = pd.Timedelta(days=60)  # the score predicts churn this far ahead
GRACE = pd.Timedelta(days=45)  # a customer who returns within it has not churned

FIRST_DAY, TODAY = pd.Timestamp("2023-01-01"), pd.Timestamp("2026-11-21")
# A label is known HORIZON + GRACE after its cut-off; the labels of the last training date were known on 2026-06-14.
# This model could therefore have served on the evaluation date.
TRAIN_ON = [pd.Timestamp(day) for day in ("2025-06-01", "2025-09-01", "2025-12-01", "2026-03-01")]
EVALUATE_ON = pd.Timestamp("2026-07-01")

TRAINED_AT = dt.datetime(2026, 11, 20, 4, 0, tzinfo=dt.UTC)
# Chosen from the evaluation: sales call the high band today and watch the medium one.
BANDS = {"low": 0.0, "medium": 0.1, "high": 0.3}

PLANS = ["starter", "showroom", "warehouse"]
SEGMENTS = ["foam", "hybrid", "latex", "smart", "spring", "vegan"]
REGIONS = ["asia_pacific", "europe", "latin_america", "north_america"]

LABELS = {
    "plan": "Plan",
    "segment": "Kind of mattress start-up",
    "region": "Region",
    "yearly_contract": "Has a yearly contract",
    "months_to_renewal": "Months until the yearly contract renews",
    "auto_pay": "Pays automatically",
    "cohort_age_months": "Months since sign-up",
    "times_returned": "Times cancelled and come back",
    "days_since_return": "Days since coming back",
    "mattresses": "Mattresses rented",
    "mattresses_change_90d": "Change in mattresses rented, last 90 days",
    "monthly_price": "Monthly price (EUR)",
    "price_change_180d": "Price change, last 180 days (%)",
    "late_payments_180d": "Late payments, last 180 days",
    "unpaid_invoices": "Unpaid invoices",
    "days_late_180d": "Average days late, last 180 days",
    "visits_30d": "Visits to the site, last 30 days",
    "visits_trend": "Visits, last 30 days against the 60 before",
    "days_since_visit": "Days since the last visit",
    "subscribe_hovers_30d": "Hovers over “subscribe”, last 30 days",
    "support_calls_30d": "Support calls, last 30 days",
    "support_calls_90d": "Support calls, last 90 days",
    "support_minutes_90d": "Minutes on the phone to support, last 90 days",
    "nps": "Last answer to “would you recommend us?” (0 to 10)",
}
REASONS = tomllib.loads((HERE / "reasons.toml").read_text(encoding="utf-8"))
CATEGORIES = {"plan": PLANS, "segment": SEGMENTS, "region": REGIONS}
# These default to 0, because no recorded event means no event. In other features the model learns from missing values.
COUNTS = ["late_payments_180d", "unpaid_invoices", "visits_30d", "subscribe_hovers_30d"]
COUNTS += ["support_calls_30d", "support_calls_90d", "support_minutes_90d"]
# What sales can change, by an offer or in a call.
ACTIONABLE = {
    "plan": "any",
    "yearly_contract": "up",
    "auto_pay": "up",
    "mattresses": "any",
    "monthly_price": "down",
    "unpaid_invoices": "down",
    "visits_30d": "up",
}
# Whole numbers that may be missing, or that pandas converted to floats.
WHOLE = ["months_to_renewal", "days_since_return", "mattresses", "mattresses_change_90d"]
WHOLE += ["days_since_visit", "support_minutes_90d", "nps"]


# --- Raw events ------------------------------------------------------------------------------------------------------


@dataclass
class History:
    """Raw events of the company. Every table has a `customer` and the day `at` on which a row became known."""

    customers: pd.DataFrame  # at = sign-up, plan, segment, region, yearly_contract, auto_pay
    periods: pd.DataFrame  # at = start of a subscription, end (NaT: still running)
    invoices: pd.DataFrame  # at = due date, paid (NaT: not yet), mattresses, price
    prices: pd.DataFrame  # at, change (%)
    visits: pd.DataFrame  # at
    hovers: pd.DataFrame  # at
    calls: pd.DataFrame  # at, minutes
    surveys: pd.DataFrame  # at, nps

    def until(self, cutoff: pd.Timestamp) -> History:
        """Return the events known at the start of the day `cutoff`: no later rows, ends or payments."""
        tables = {}
        for name, table in vars(self).items():
            table = table[table["at"] < cutoff].copy()
            for later in {"end", "paid"} & set(table.columns):
                table[later] = table[later].where(table[later] < cutoff)
            tables[name] = table
        return History(**tables)


def simulate(seed: int = SEED, customers: int = 5600) -> History:
    """Simulate the events month by month. A customer's mood and funds are hidden; only their effects are recorded."""
    rng = np.random.default_rng(seed)
    n, day = customers, lambda t: (t - FIRST_DAY).days
    end_of_time = day(TODAY)

    signed_up = np.sort((end_of_time * rng.random(n) ** 0.8).astype(int))
    plan = rng.choice(3, n, p=[0.5, 0.35, 0.15])
    segment, region = rng.choice(6, n), rng.choice(4, n, p=[0.15, 0.4, 0.1, 0.35])
    yearly, auto_pay = rng.random(n) < 0.3, rng.random(n) < 0.6
    mattresses = 1 + rng.poisson(np.array([6, 25, 90])[plan]).astype(float)
    unit_price = np.array([19.0, 16.0, 12.5])[plan] * rng.uniform(0.9, 1.15, n)
    mood, funds = rng.normal(0.3, 0.6, n), rng.normal(0.2, 0.8, n)
    leaves = np.full(n, -1)  # the day on which a customer who has decided to leave will cancel; -1: undecided
    anger = np.zeros(n)  # about the last price rise; decays

    starts, since = signed_up.copy(), np.full(n, -1)  # next start of a subscription; start of the running one
    tables: dict[str, list] = {table.name: [] for table in fields(History) if table.name != "customers"}

    months = pd.date_range(FIRST_DAY, TODAY, freq="MS")
    for number, month in enumerate(months):
        progress("simulating", number + 1, len(months))
        first_day, last_day = day(month), min(day(month + pd.offsets.MonthBegin()), end_of_time)
        joins = (since < 0) & (starts < last_day)
        since[joins] = starts[joins]
        mood[joins] += 0.3
        active = since >= 0
        first = np.maximum(since, first_day)
        age = (first_day - signed_up) / 30.4

        mood = 0.92 * mood + rng.normal(0.0, 0.3, n)
        funds = 0.93 * funds + rng.normal(0.0, 0.26, n) - 0.03 * (segment == 3) + 0.02 * (segment == 1)
        anger *= 0.7

        # Prices rise once a year, in February for old customers, and when a starter's discount ends.
        rise = np.where(
            (month.month == 2) & (age > 6), rng.choice([0, 3, 6, 12], n, p=[0.3, 0.3, 0.25, 0.15]), 0
        )
        rise = np.where((age.astype(int) == 6) & (plan == 0) & (rng.random(n) < 0.5), 15, rise) * active
        unit_price *= 1 + rise / 100
        anger += 0.09 * rise
        risen = np.flatnonzero(rise)
        tables["prices"].append({"customer": risen, "at": first[risen], "change": rise[risen].astype(float)})

        mattresses = np.maximum(1, mattresses * np.exp(rng.normal(0.01 + 0.05 * np.tanh(funds), 0.06, n)))

        # Some customers decide to leave. From then on they use less of everything, and cancel within weeks, or at the
        # renewal of a yearly contract.
        risk = -2.8 - 1.7 * mood - 1.2 * funds + 1.0 * anger + 0.8 * (age < 4) - 0.015 * age - 0.4 * auto_pay
        decides = active & (leaves < 0) & (rng.random(n) < 1 / (1 + np.exp(-risk)))
        notice = first + rng.integers(3, 65, n)
        renewal = signed_up + YEAR * ((notice - signed_up) // YEAR + 1)
        leaves = np.where(decides, np.where(yearly, renewal, notice), leaves)
        leaving = active & (leaves >= 0)
        mattresses = np.maximum(1, mattresses * np.where(leaving, 0.95, 1))

        cancels = leaving & (leaves < last_day)
        last = np.where(cancels, leaves, last_day)
        # Returns soon (a pause, not churn), much later (won back after churn), or never.
        fate = rng.random(n)
        gap = np.where(
            fate < 0.25, rng.integers(4, 45, n), np.where(fate < 0.35, rng.integers(50, 240, n), 10**6)
        )

        def scatter(rate: np.ndarray) -> dict:
            """Spread the month's events over the days on which the customer was subscribed."""
            counts = rng.poisson(np.where(active, rate * (last - first) / 30.4, 0))
            who = np.repeat(np.arange(n), counts)
            return {
                "customer": who,
                "at": first[who] + (rng.random(len(who)) * (last - first)[who]).astype(int),
            }

        visits, hovers = (
            np.exp(1.7 + 0.6 * mood + 0.15 * funds + 0.2 * plan),
            np.exp(-0.9 + 0.6 * mood + 0.5 * funds),
        )
        tables["visits"].append(scatter(visits * np.where(leaving, 0.6, 1)))
        tables["hovers"].append(scatter(hovers * np.where(leaving, 0.5, 1)))
        calls = scatter(np.exp(-1.0 - 0.8 * mood + 0.25 * anger + 0.4 * (age < 3)))
        calls["minutes"] = np.ceil(rng.gamma(2.0, 4.0, len(calls["at"])))
        tables["calls"].append(calls)

        billed = np.flatnonzero(active)
        late = rng.random(n) < 1 / (1 + np.exp(1.6 + 1.3 * funds + 1.2 * auto_pay))
        delay = np.where(late, 6 + rng.exponential(14, n), rng.integers(0, 4, n)).astype(int)
        tables["invoices"].append({
            "customer": billed, "at": first[billed], "paid": first[billed] + delay[billed],
            "mattresses": np.round(mattresses[billed]), "price": np.round((mattresses.round() * unit_price)[billed], 2),
        })  # fmt: skip
        if month.month % 3 == 0:
            answers = np.flatnonzero(active & (rng.random(n) < 0.35))
            nps = np.clip(np.round(7.2 + 1.9 * mood - 0.8 * anger + rng.normal(0, 1.3, n)), 0, 10)
            middle = (first + last) // 2
            tables["surveys"].append({"customer": answers, "at": middle[answers], "nps": nps[answers]})

        gone = np.flatnonzero(cancels)
        tables["periods"].append({"customer": gone, "at": since[gone], "end": last[gone]})
        starts[gone], since[gone] = (last + gap)[gone], -1
        leaves[gone] = -1

    running = np.flatnonzero(since >= 0)
    tables["periods"].append(
        {"customer": running, "at": since[running], "end": np.full(len(running), end_of_time)}
    )
    frames = {name: pd.concat(map(pd.DataFrame, parts), ignore_index=True) for name, parts in tables.items()}
    frames["customers"] = pd.DataFrame({
        "customer": np.arange(n), "at": signed_up, "plan": np.take(PLANS, plan), "segment": np.take(SEGMENTS, segment),
        "region": np.take(REGIONS, region), "yearly_contract": yearly, "auto_pay": auto_pay,
    })  # fmt: skip
    for frame in frames.values():
        for column in {"at", "end", "paid"} & set(frame.columns):
            days = frame[column].to_numpy()
            frame[column] = (FIRST_DAY + pd.to_timedelta(days, unit="D")).where(days < end_of_time)
    return History(**frames)


# --- The label -------------------------------------------------------------------------------------------------------


def churned(periods: list[tuple[pd.Timestamp, pd.Timestamp]], cutoff: pd.Timestamp) -> bool:
    """Return whether a customer subscribed on `cutoff` leaves within HORIZON and does not return within GRACE.

    `periods` are the customer's subscriptions as (day of sign-up, day of cancelling or NaT while it runs).
    A return within the grace period cancels the leaving; then the next subscription decides, and so on.
    """
    cancelled = None
    for start, end in sorted(periods):
        if cancelled is None:
            if not (start < cutoff and not end < cutoff):  # comparisons with NaT are false: still running
                continue
        elif start - cancelled > GRACE:
            break
        cancelled = end
        if not cancelled < cutoff + HORIZON:
            return False
    if cancelled is None:
        raise ValueError(f"not subscribed on {cutoff:%Y-%m-%d}: nothing to predict")
    return True


def label(history: History, cutoff: pd.Timestamp, customers: pd.Index) -> pd.Series:
    if cutoff + HORIZON + GRACE > TODAY:
        raise ValueError(
            f"labels of {cutoff:%Y-%m-%d} are known only from {cutoff + HORIZON + GRACE:%Y-%m-%d} on"
        )
    periods = {
        customer: list(zip(rows["at"], rows["end"])) for customer, rows in history.periods.groupby("customer")
    }
    return pd.Series([churned(periods[customer], cutoff) for customer in customers], index=customers)


# --- Features --------------------------------------------------------------------------------------------------------


def features(history: History, cutoff: pd.Timestamp) -> pd.DataFrame:
    """Compute the features of all customers subscribed on `cutoff` from what was known then; index: customer."""
    seen = history.until(cutoff)
    current = seen.periods[seen.periods["end"].isna()].set_index("customer")["at"].sort_index()
    ids = current.index

    def within(table: pd.DataFrame, days: int, skip: int = 0):
        """Group by customer the rows of the `days` days that ended `skip` days before the cut-off."""
        at, until = table["at"], cutoff - pd.Timedelta(days=skip)
        return table[(at >= until - pd.Timedelta(days=days)) & (at < until)].groupby("customer")

    def count(table: pd.DataFrame, days: int, skip: int = 0) -> pd.Series:
        return within(table, days, skip).size().reindex(ids, fill_value=0)

    def days_since(when: pd.Series) -> pd.Series:
        return (cutoff - when.reindex(ids)).dt.days.astype("float64")

    who = seen.customers.set_index("customer").loc[ids]
    age = (cutoff - who["at"]).dt.days / 30.4375
    last_bill = seen.invoices.groupby("customer").last().reindex(ids)
    past = (
        seen.invoices[seen.invoices["at"] < cutoff - pd.Timedelta(days=90)]
        .groupby("customer")
        .last()
        .reindex(ids)
    )
    paid = seen.invoices.assign(late=(seen.invoices["paid"].fillna(cutoff) - seen.invoices["at"]).dt.days)
    overdue = paid[paid["late"] > 5]
    returns = seen.periods.groupby("customer").size().reindex(ids) - 1
    visits, before = count(seen.visits, 30), count(seen.visits, 60, skip=30)

    table = pd.DataFrame({
        **{name: pd.Categorical(who[name], categories=known) for name, known in CATEGORIES.items()},
        "yearly_contract": who["yearly_contract"],
        "months_to_renewal": (11 - np.floor(age) % 12).where(who["yearly_contract"]),
        "auto_pay": who["auto_pay"],
        "cohort_age_months": np.floor(age).astype(int),
        "times_returned": returns,
        "days_since_return": days_since(current).where(returns > 0),
        "mattresses": last_bill["mattresses"],
        "mattresses_change_90d": last_bill["mattresses"] - past["mattresses"],
        "monthly_price": last_bill["price"],
        "price_change_180d": within(seen.prices, 180)["change"].sum().reindex(ids, fill_value=0.0),
        "late_payments_180d": count(overdue, 180),
        "unpaid_invoices": overdue[overdue["paid"].isna()].groupby("customer").size().reindex(ids, fill_value=0),
        "days_late_180d": within(paid, 180)["late"].mean().reindex(ids).round(1),
        "visits_30d": visits,
        "visits_trend": (2 * visits / before.where(before > 0)).round(2),
        "days_since_visit": days_since(seen.visits.groupby("customer")["at"].max()),
        "subscribe_hovers_30d": count(seen.hovers, 30),
        "support_calls_30d": count(seen.calls, 30),
        "support_calls_90d": count(seen.calls, 90),
        "support_minutes_90d": within(seen.calls, 90)["minutes"].sum().reindex(ids, fill_value=0.0),
        "nps": seen.surveys.groupby("customer")["nps"].last().reindex(ids),
    }, index=ids)  # fmt: skip
    return table[list(LABELS)].astype(dict.fromkeys(WHOLE, "Int64"))


# --- The model -------------------------------------------------------------------------------------------------------

PARAMETERS = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "max_depth": 4,
    "eta": 0.05,
    "min_child_weight": 10,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "seed": SEED,
    "nthread": 1,  # one order of summation gives the same bits on every run
}
ROUNDS = 120


def matrix(X: pd.DataFrame, y: pd.Series | None = None) -> xgb.DMatrix:
    return xgb.DMatrix(X, y, enable_categorical=True)


def calibration_error(y: np.ndarray, p: np.ndarray, bins: int = 10) -> tuple[float, list[tuple]]:
    """Return the expected calibration error over bins of equal size, and per bin: rows, mean prediction, churn rate."""
    parts = np.array_split(np.argsort(p, kind="stable"), bins)
    table = [(len(part), p[part].mean(), y[part].mean()) for part in parts]
    return sum(rows * abs(said - was) for rows, said, was in table) / len(y), table


def evaluate(model: xgb.Booster, train: tuple, test: tuple, bands: dict[str, float]) -> str:
    """Return the text of the evaluation in the model card."""
    (X_train, y_train), (X, y) = train, test
    median = X_train.median(numeric_only=True).astype("float64")

    def plain(rows: pd.DataFrame) -> pd.DataFrame:
        return pd.get_dummies(rows).astype("float64").fillna(median)

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(plain(X_train), y_train)
    predictions = {
        "this model": model.predict(matrix(X)).astype(float),
        "logistic regression, medians for missing values": linear.predict_proba(plain(X))[:, 1],
        "the training churn rate for everyone": np.full(len(y), y_train.mean()),
    }
    y = y.to_numpy()
    out = [
        f"Trained on {len(y_train):,} rows ({', '.join(f'{day:%Y-%m-%d}' for day in TRAIN_ON)}; "
        f"{y_train.mean():.1%} churned), evaluated on the {len(y):,} customers of {EVALUATE_ON:%Y-%m-%d} "
        f"({y.mean():.1%} churned).",
        "",
        "| | AUC | average precision | log loss | calibration error |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, p in predictions.items():
        out.append(
            f"| {name} | {roc_auc_score(y, p):.3f} | {average_precision_score(y, p):.3f} | {log_loss(y, p):.4f} "
            f"| {calibration_error(y, p)[0]:.4f} |"
        )
    p = predictions["this model"]
    out += ["", "Calibration, by tenths of the customers in order of score:", ""]
    out += ["| customers | mean score | churned |", "|--:|--:|--:|"]
    out += [f"| {rows} | {said:.1%} | {was:.1%} |" for rows, said, was in calibration_error(y, p)[1]]
    out += [
        "",
        "The bands:",
        "",
        "| band | from | customers | churned | of all churn |",
        "|---|--:|--:|--:|--:|",
    ]
    edges = [*bands.values(), np.inf]
    for band, low, high in zip(bands, edges, edges[1:]):
        inside = (p >= low) & (p < high)
        caught = y[inside].sum() / y.sum()
        out.append(f"| {band} | {low:.2f} | {inside.mean():.1%} | {y[inside].mean():.1%} | {caught:.1%} |")
    return "\n".join(out)


# --- Files -----------------------------------------------------------------------------------------------------------

FILES = ["churn/1/bundle.toml", "churn/1/model.ubj", "churn/1/golden.jsonl", "churn/1/reference.json"]
FILES += ["customers.parquet", "README.md"]
BETWEEN = re.compile(r"(?<=<!-- evaluation: written by train.py -->\n).*?(?=<!-- end -->)", re.DOTALL)


def write(models: Path) -> None:
    """Write all files below `models`."""
    history = simulate()
    sets = {}
    for number, cutoff in enumerate([*TRAIN_ON, EVALUATE_ON]):
        progress("features and labels", number + 1, len(TRAIN_ON) + 1)
        X = features(history, cutoff)
        sets[cutoff] = X, label(history, cutoff, X.index)
    train = tuple(pd.concat(part, ignore_index=True) for part in zip(*(sets[day] for day in TRAIN_ON)))
    progress("training")
    model = xgb.train(PARAMETERS, matrix(*train), ROUNDS)

    save_bundle(
        model,
        train[0],
        models / "churn" / "1",
        bands=BANDS,
        labels=LABELS,
        defaults=dict.fromkeys(COUNTS, 0),
        ranges={"nps": (0, 10)},
        reasons=REASONS,
        actionable=ACTIONABLE,
        steps={"monthly_price": 5, "mattresses": 1, "unpaid_invoices": 1, "visits_30d": 1},
        outcome="the risk of leaving",
        outcomes={
            "horizon_days": HORIZON.days,
            "grace_days": GRACE.days,
            "absent": "stayed",
            "contact_capacity": 0.1,
        },
        out_of_range={"nps": "missing"},
        lineage={
            "run": "models/train.py",
            "data": f"simulated, seed {SEED}",
            "cutoffs": ", ".join(f"{day:%Y-%m-%d}" for day in TRAIN_ON),
        },
        trained_at=TRAINED_AT,
        overwrite=True,
    )
    progress("customers")
    latest = features(history, TODAY).astype(dict.fromkeys(CATEGORIES, "str"))
    latest.insert(0, "customer_id", [f"C-{number + 1}" for number in latest.index])
    latest["as_of"] = pd.Timestamp(TODAY, tz="UTC") + pd.Timedelta(hours=3)
    write_parquet(latest, models / "customers.parquet")

    card = (HERE / "README.md").read_text(encoding="utf-8")
    evaluation = evaluate(model, train, sets[EVALUATE_ON], BANDS) + "\n"
    (models / "README.md").write_text(BETWEEN.sub(lambda _: evaluation, card), encoding="utf-8")
    progress("")


def write_parquet(table: pd.DataFrame, path: Path) -> None:
    """Write plain columns without pandas metadata, strings as strings, as a nightly job in any language would."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(None)
    types = {
        field.name: pa.string() if pa.types.is_large_string(field.type) else field.type
        for field in arrow.schema
    }
    types["as_of"] = pa.timestamp("us", tz="UTC")
    pq.write_table(arrow.cast(pa.schema(types.items())), path, compression="snappy", store_schema=False)


def check() -> int:
    """Report the existing files that differ from the output of this script."""
    with tempfile.TemporaryDirectory() as fresh:
        write(Path(fresh))
        differ = [file for file in FILES if not same(HERE / file, Path(fresh) / file)]
    if not differ:
        print(f"{len(FILES)} files are what train.py makes")
        return 0
    print("not what train.py makes: " + ", ".join(differ), file=sys.stderr)
    for line in (HERE / "requirements.txt").read_text().splitlines():
        package, pinned, version = line.partition("==")
        if pinned and (installed := importlib.metadata.version(package)) != version:
            print(f"  {package} is {installed}, the files were made with {version}", file=sys.stderr)
    print("  to rebuild them: python models/train.py", file=sys.stderr)
    return 1


def same(one: Path, other: Path) -> bool:
    return one.exists() and filecmp.cmp(one, other, shallow=False)


def progress(what: str, done: int = 0, of: int = 0) -> None:
    """Show progress in one line on a terminal; the empty string clears it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{what}{f' {done}/{of}' if of else ''}", end="", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Train the sample model and write models/ (some 15 seconds)."
    )
    parser.add_argument(
        "--check", action="store_true", help="only verify that the files in place are what this makes"
    )
    if parser.parse_args().check:
        return check()
    write(HERE)
    found = BETWEEN.search((HERE / "README.md").read_text(encoding="utf-8"))
    assert found, "README.md lost the marks around the evaluation"
    print(found[0])
    return 0


if __name__ == "__main__":
    sys.exit(main())
