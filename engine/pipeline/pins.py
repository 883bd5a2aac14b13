"""Feature values set by hand: what tests of journeys put in the place of what the pipeline computed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.pipeline.waves import Wave

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]


class Pins:
    """Changes nothing; a subclass may, before anything is judged on the values."""

    def set_values(self, wave: Wave, matrix: Floats) -> None:
        """Change the values of some rows in place.

        Args:
            wave: the rows.
            matrix: `(rows, features) float64`, the churn risk set, the segment not yet.
        """

    def segments(self, wave: Wave, codes: Codes) -> Codes:  # noqa: ARG002 - for subclasses
        """Return the rows' segments.

        Args:
            wave: the rows.
            codes: `(rows,) uint8`, the segments by their definition.
        """
        return codes
