"""One small report for all tests of reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perfmodel import Scenario
from perfmodel.commands import report as command
from perfmodel.parameters import load_parameters
from perfmodel.report import converting, many_vcpus, steady_state, write_lock
from perfmodel.report.answer import Answer, Report, to_json
from perfmodel.report.build import Answered, make_report
from perfmodel.report.situation import Situation

SCENARIO = Scenario(memory="3GiB", shattered=0.34)

FEWER = (
    (converting, "STORM_VCPUS", (2,)),
    (converting, "STORM_SAMPLES", 2),
    (many_vcpus, "VCPUS", (1, 3)),
    (many_vcpus, "MIXED_VCPUS", (1, 2)),
    (many_vcpus, "SAMPLES", 2),
    (steady_state, "ACCESSES", 1 << 14),
    (write_lock, "FILTER_VCPUS", 2),
    (write_lock, "FILTER_SAMPLES", 2),
)
"""Points and accesses of a report that a test has time for."""


@dataclass(frozen=True)
class Written:
    """A report, the situation of another run of the same guest, and the folder that the report was written to."""

    answered: Answered
    situation: Situation
    folder: Path

    @property
    def report(self) -> Report:
        """All answers."""
        return self.answered.report

    def answer(self, number: int) -> Answer:
        """One answer; it must be one."""
        answer = self.report.answers[number - 1]
        assert (answer.number, answer.reason) == (number, None)
        return answer

    def row(self, number: int, title: str, label: str, column: str = "") -> tuple[float, float | None, float | None]:
        """Value and interval of the one row of that name, in the group whose title starts so."""
        (group,) = (group for group in self.answer(number).groups if group.title.startswith(title))
        (row,) = (row for row in group.rows if (row.label, row.column) == (label, column))
        return row.value, row.low, row.high


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Return a report of 3 GiB, one of whose folios is shattered."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in FEWER:
            patch.setattr(module, name, value)
        answered = make_report(SCENARIO)
    figures = {stem: command._draw(answered.report, drawn) for stem, drawn in answered.figures.items()}
    command._write(folder, answered.report, figures)
    return Written(answered, Situation.of(SCENARIO, load_parameters()), folder)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a report of the test's own take seconds."""
    for module, name, value in FEWER:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="session")
def document(written: Written) -> dict[str, Any]:
    """Return the report as JSON gives it back."""
    return msgspec.json.decode(to_json(written.report), type=dict[str, Any])
