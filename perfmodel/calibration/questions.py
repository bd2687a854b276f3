"""What one may ask of the model, and what one could measure on a machine with TDX: rows of ``data/questions.csv``."""

import functools
from importlib import resources

from perfmodel.calibration.observations import Observation, parse_observations

RATIO = "4k-over-2m"
"""Result beside the rows: the time of populating a byte at 4K over that at 2M."""

RATIO_OF = ("populate-4k", "populate-2m")


@functools.cache
def questions() -> tuple[Observation, ...]:
    """Return all rows; `role` is ``both``, or ``candidate`` for what is worth measuring only."""
    text = (resources.files("perfmodel") / "data" / "questions.csv").read_text(encoding="utf-8")
    return parse_observations(text, "questions.csv", asked=True)
