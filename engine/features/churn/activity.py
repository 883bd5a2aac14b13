"""What a customer does besides buying: visits, messages opened, inquiries, satisfaction.

Of each kind that is counted the model sees two numbers: the habit, a week's usual number over the last 90
days, and the change, how far the last 7 days are from it. The handbooks' warning sign, activity down by 60 %,
is a change of -0.5 for who came twice a week and near -0.9 for who came daily. All of it comes from the
columns that rules use too, so nothing more is stored of a customer.

A deployment that sends no such events has zeros here; they weigh nothing, and every score is what it would be
without these features.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from engine.features.catalog import NO_SCORE
from engine.features.registry import FeatureSpace

Floats = npt.NDArray[np.float64]

KINDS: Final = ("visit", "open", "inquiry")
ACTIVITY_FEATURES: Final = (
    *(f"log_{kind}_habit" for kind in KINDS),
    *(f"{kind}_change" for kind in KINDS),
    "csat",
    "nps",
)
"""Habits: log1p of events a week; changes: log1p of the last week's less that; answers: centred, 0 = none."""
ACTIVITY_COUNT: Final = len(ACTIVITY_FEATURES)
HABITS: Final = slice(0, len(KINDS))
CHANGES: Final = slice(len(KINDS), 2 * len(KINDS))
CSAT: Final = ACTIVITY_FEATURES.index("csat")
NPS: Final = ACTIVITY_FEATURES.index("nps")

NEEDED_COLUMNS: Final = (
    "visits_90d",
    "messages_opened_90d",
    "inquiries_90d",
    "visits_7d",
    "messages_opened_7d",
    "inquiries_7d",
    "csat_last",
    "nps_last",
    "days_since_first_seen",
)
"""What of the feature space this is made of, each where what comes of it stands in `ACTIVITY_FEATURES`."""
_COUNTS: Final = slice(0, CHANGES.stop)
_ANSWERS: Final = slice(CSAT, ACTIVITY_COUNT)
_KNOWN: Final = ACTIVITY_COUNT
# As arrays: a Python number would be made one at every call.
_WEEK_D, _HABIT_D, _ZERO, _NO_SCORE = (np.array(value) for value in (7.0, 90.0, 0.0, NO_SCORE))
CSAT_CENTRE: Final = 3.0
NPS_CENTRE: Final = 7.5
"""Between a 7 and an 8, which count for nothing in an NPS: who never answered stands there too."""
_CENTRES: Final = np.array((CSAT_CENTRE, NPS_CENTRE))[:, None]


def activity_of(
    space: FeatureSpace, matrix: Floats, rows: npt.NDArray[np.int64] | None = None
) -> Floats | None:
    """Read the activity features off a feature matrix.

    Args:
        space: whose matrix it is.
        matrix: `(rows, features)`.
        rows: numbers of the rows wanted, `(wanted,)`; None = all.

    Returns:
        `(ACTIVITY_COUNT, wanted)`, or None when none of these customers did or said anything.
    """
    places = space.places(NEEDED_COLUMNS)
    if places is None:  # a space made by hand, for less than a deployment
        return None
    columns = matrix.T[places]  # a copy
    return activity_features(columns if rows is None else columns.take(rows, axis=1))


def activity_features(columns: Floats) -> Floats | None:
    """Compute the activity features.

    Args:
        columns: values of `NEEDED_COLUMNS`, `(9, rows)`; worked in, so that a batch costs few calls.

    Returns:
        As `activity_of`; a part of `columns`.
    """
    counts, answers = columns[_COUNTS], columns[_ANSWERS]
    answered = answers != _NO_SCORE
    nobody_answered = not np.count_nonzero(answered)
    if nobody_answered and not np.count_nonzero(counts):
        return None
    # of who is known for less than a week the habit is what was seen so far: no change yet
    weeks = np.maximum(columns[_KNOWN], _WEEK_D)
    np.minimum(weeks, _HABIT_D, out=weeks)
    weeks /= _WEEK_D
    habits, changes = columns[HABITS], columns[CHANGES]
    habits /= weeks
    np.log1p(counts, out=counts)
    changes -= habits
    if nobody_answered:
        answers[:] = _ZERO
    else:
        answers -= _CENTRES
        answers *= answered
        answers += _ZERO  # no zero has a sign: a row's bytes do not depend on who else is in the batch
    return columns[:ACTIVITY_COUNT]
