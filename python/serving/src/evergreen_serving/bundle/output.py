"""What the score is made from, and its bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evergreen_serving.bundle.calibration import checked_calibration
from evergreen_serving.bundle.models import BundleError, Trained

KINDS = ("probability", "margin", "value", "class")
OUTCOMES = '{"horizon_days": 30, "grace_days": 14, "absent": "stayed", "contact_capacity": 0.1}'
MOST_DAYS = 3650


def output(
    kind: str, bands: Mapping[str, float] | None, calibration: Mapping[str, Any] | None, trained: Trained
) -> dict:
    """Return the output section of the contract."""
    check_kind(kind, trained)
    section: dict[str, Any] = {"kind": kind}
    if bands:
        section["bands"] = checked_bands(kind, bands)
    if calibration:
        if kind != "probability":
            raise BundleError(
                f'calibration with kind = "{kind}": a calibrated score is a probability: kind="probability"'
            )
        section["calibration"] = checked_calibration(calibration)
    return section


def check_kind(kind: str, trained: Trained) -> None:
    if kind not in KINDS:
        raise BundleError(f"kind {kind!r} is none of {', '.join(KINDS)}")
    if kind == "probability" and not trained.probabilities:
        raise BundleError(
            f'kind = "probability", but the model\'s objective gives no probability: kind="{trained.kind}"'
        )
    if kind == "class" and not trained.classes:
        raise BundleError(f'kind = "class", but the model\'s objective has no classes: kind="{trained.kind}"')


def check_width(kind: str, frame: pd.DataFrame, trained: Trained) -> None:
    """Refuse a score of several numbers per row."""
    if kind == "class":
        return
    outputs = dict(zip(("margin", "value"), trained.predict(frame.head(1))))
    width = np.asarray(outputs["margin" if kind == "margin" else "value"]).size
    if width != 1:
        raise BundleError(
            f'kind = "{kind}": the model gives {width} numbers per row, and a score is one number: {trained.several}'
        )


def outcome_section(outcomes: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Return the section that says what the score predicts and by when."""
    if kind != "probability":
        raise BundleError(f'outcomes with kind = "{kind}": only a probability is compared with outcomes')
    unknown = set(outcomes) - {"horizon_days", "grace_days", "absent", "contact_capacity"}
    if unknown:
        raise BundleError(f"outcomes: unknown keys {sorted(unknown)}: expected {OUTCOMES}")
    days = [outcomes.get("horizon_days"), outcomes.get("grace_days", 0)]
    if not all(isinstance(number, int) and not isinstance(number, bool) for number in days):
        raise BundleError(f"outcomes {dict(outcomes)}: expected whole numbers of days, as in {OUTCOMES}")
    if not 1 <= days[0] <= MOST_DAYS or not 0 <= days[1] <= MOST_DAYS:
        raise BundleError(
            f"outcomes {dict(outcomes)}: expected horizon_days from 1 and grace_days from 0 to {MOST_DAYS}"
        )
    if outcomes.get("absent", "unknown") not in ("stayed", "unknown"):
        raise BundleError(f'outcomes: absent: expected "stayed" or "unknown", found {outcomes["absent"]!r}')
    capacity = outcomes.get("contact_capacity", 0.1)
    if not 0 < capacity <= 1:
        raise BundleError(
            f"outcomes: contact_capacity: expected a share above 0 up to 1, such as 0.1, found {capacity}"
        )
    return {**outcomes, **({"contact_capacity": float(capacity)} if "contact_capacity" in outcomes else {})}


def checked_bands(kind: str, bands: Mapping[str, float]) -> list[dict]:
    starts = [float(start) for start in bands.values()]
    if starts != sorted(set(starts)):
        raise BundleError(f"bands {dict(bands)}: each must start above the one before")
    if kind == "probability" and starts[0] > 0:
        raise BundleError(f"bands {dict(bands)}: the first must start at 0, or low scores have none")
    if kind == "probability" and starts[-1] > 1:
        raise BundleError(
            f"bands {dict(bands)}: no probability reaches {starts[-1]:g}: expected at most 1, as in "
            '{"low": 0, "high": 0.7}'
        )
    return [{"name": band, "from": start} for band, start in zip(bands, starts)]
