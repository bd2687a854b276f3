"""Conformance vectors: inputs and observed outputs of the TDX module, read into arrays."""

from perfmodel.vectors.final import Final, FinalPamt, FinalSept, FinalTd, PamtRun, SeptRun, pamt_runs, sept_runs
from perfmodel.vectors.header import Header, Word
from perfmodel.vectors.reader import VectorFile, load_vectors, require_readable
from perfmodel.vectors.records import REGISTER_COLUMNS, Records

__all__ = [
    "REGISTER_COLUMNS",
    "Final",
    "FinalPamt",
    "FinalSept",
    "FinalTd",
    "Header",
    "PamtRun",
    "Records",
    "SeptRun",
    "VectorFile",
    "Word",
    "load_vectors",
    "pamt_runs",
    "require_readable",
    "sept_runs",
]
