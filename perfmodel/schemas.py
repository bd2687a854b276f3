"""The JSON Schema files (draft 2020-12) of what commands write."""

from importlib import resources
from typing import Any

import msgspec

SCHEMAS = (
    "compare-1", "run-1", "host-1", "steady-1", "life-1", "scale-1", "validate-1", "calibrate-1", "sensitivity-1",
    "ingest-1", "sweep-1", "report-1",
)  # fmt: skip
"""What is shipped. ``compare-1`` describes files that say ``"schema": "perfmodel/compare/1"``, and so on."""


def load_schema(name: str) -> dict[str, Any]:
    """Return one of :data:`SCHEMAS`; it refers to no other file.

    Raises
    ------
    KeyError
        A name that is not in :data:`SCHEMAS`.
    """
    if name not in SCHEMAS:
        raise KeyError(f"schema {name!r}: accepted are {', '.join(SCHEMAS)}")
    text = (resources.files("perfmodel") / "data" / "schemas" / f"{name}.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])
