"""What an answer is: numbers with intervals, what they hang on, and how to get them again."""

from typing import Any

import msgspec

from perfmodel.result import ParametersId

SCHEMA = "perfmodel/report/1"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number.

    Attributes
    ----------
    label, column : str
        What it is, and of what: an interface, mostly. Rows of one label are one line of a table.
    value : float
    low, high : float or None
        5 % and 95 % points; None for what is exact.
    unit : str
        ``s``, ``bytes``, ``%``, ``times``, ``GiB/s``, ``GiB``, or empty for a count.
    """

    label: str
    column: str
    value: float
    low: float | None
    high: float | None
    unit: str


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Numbers that are read together. Those of one that is ``drawn`` have one unit and stand in the figure."""

    title: str
    rows: list[Row]
    drawn: bool = False


class HangsOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The assumption that explains most of a number's variance over the samples.

    Attributes
    ----------
    number : str
        Which number.
    assumption, meaning : str
        A parameter, ``the host's scale``, or ``stage ...``: what the model may be wrong by there.
    share : float
        Of the variance of the number's ranks, 0 to 1.
    low, value, high : float
        The assumption's range.
    unit, confidence, source : str
    """

    number: str
    assumption: str
    meaning: str
    share: float
    value: float
    low: float
    high: float
    unit: str
    confidence: str
    source: str


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question of the eleven.

    Attributes
    ----------
    number : int
    question, headline : str
        Who answers leaves number, question and figures to :mod:`perfmodel.report.build`.
    groups : list of Group
    hangs_on : list of HangsOn
        For each headline number the first of all, and where that is no price the first price.
    notes : list of str
        Structural assumptions with their sources, and what the numbers leave out.
    command : str
        Gives the numbers again, or those that they are made of.
    figures : list of str
        Stems of their files.
    reason : str or None
        Why there is no answer: the question does not apply, or its run failed.
    """

    number: int = 0
    question: str = ""
    headline: str = ""
    groups: list[Group] = []
    hangs_on: list[HangsOn] = []
    notes: list[str] = []
    command: str = ""
    figures: list[str] = []
    reason: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Eleven answers about one guest on one host, and everything that made them."""

    schema: str = SCHEMA
    version: str
    seed: int
    parameters: ParametersId
    scenario: dict[str, Any]
    headline: str
    answers: list[Answer]


def to_json(report: Report) -> bytes:
    """Return ``report`` as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"
