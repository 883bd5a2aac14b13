"""What one may see of a trainer at work."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from engine.features.churn.blocks import TrainingBlock
from engine.features.churn.scoring import Risk


class Watch(Protocol):
    """Looks on while a trainer works: what an evaluation compares other models with."""

    def scored(self, day: int, rows: TrainingBlock, risk: Risk) -> None:
        """See a day's rows, and what is said about them before anything of that day is known."""

    def judged(self, day: int, gone: npt.NDArray[np.bool_]) -> None:
        """See what came of the rows of a day, in the order they were scored in, (rows,)."""
