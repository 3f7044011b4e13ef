"""The story of docs/outcomes.md on the sample: score all customers, call those at the highest risk except for a hold-out,
record what happened, and read what the scores and the calls were worth.

    python3 examples/outcomes.py target/release/evergreen FOLDER

Customers are simulated: each one leaves as likely as the score says, and a call keeps four of ten who would have left.
So the true effect is known, and the report can be compared with it. Needs no package.
"""

import csv
import datetime as dt
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUNDLE = ROOT / "models/churn/1"
SCORED = dt.datetime(2026, 3, 2, 6, tzinfo=dt.UTC)
JUDGED = SCORED + dt.timedelta(days=110)
HOLD_OUT = 0.2
KEPT_BY_A_CALL = 0.4


def main(evergreen: str, folder: Path) -> None:
    table = folder / "scored.csv"
    command = [evergreen, "score", "--model", BUNDLE, "--input", ROOT / "models/customers.parquet"]
    subprocess.run([*command, "--output", table], check=True, capture_output=True)
    with table.open(newline="") as file:
        scores = {row["customer_id"]: float(row["probability"]) for row in csv.DictReader(file)}

    draw = random.Random(2026)
    held = {customer for customer in scores if draw.random() < HOLD_OUT}
    ranked = sorted(scores, key=scores.__getitem__, reverse=True)
    # Sales can call a tenth of the customers; those of the hold-out among them are left alone.
    called = {customer for customer in ranked[: len(ranked) // 10] if customer not in held}
    would_leave = {customer for customer, score in scores.items() if draw.random() < score}
    retained = {customer for customer in sorted(would_leave & called) if draw.random() < KEPT_BY_A_CALL}
    left = would_leave - retained

    with (folder / "scores.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "at", "version", "score", "hold_out"])
        for customer, score in scores.items():
            rows.writerow([customer, SCORED.isoformat(), 1, repr(score), str(customer in held).lower()])
    with (folder / "outcomes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "time", "action", "result"])
        for customer in sorted(called):
            rows.writerow([customer, (SCORED + dt.timedelta(days=2)).isoformat(), "call", ""])
        for customer in sorted(left):
            rows.writerow([customer, (SCORED + dt.timedelta(days=30)).isoformat(), "", "left"])

    command = [evergreen, "outcomes", "evaluate", "--json", "--bundle", BUNDLE, "--now", JUDGED.isoformat()]
    command += ["--scores", folder / "scores.csv", "--outcomes", folder / "outcomes.csv"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    [version] = json.loads(done.stdout)["versions"]
    print(f"{len(scores):,} customers scored, {len(held):,} held out, {len(called):,} called.")
    print(f"Truth: {len(would_leave):,} would have left; the calls kept {len(retained):,} of them.")
    print("Report:")
    for sentences in (version["text"], version["contact"]["text"]):
        print(sentences.replace(". ", ".\n"))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
