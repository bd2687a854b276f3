"""Answer the questions one by one; one that fails does not take the others with it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import msgspec

from perfmodel._version import __version__
from perfmodel.errors import InputError
from perfmodel.parameters import ParameterSet, load_parameters
from perfmodel.report.answer import Answer, Report
from perfmodel.report.populating import headline, ratios_of
from perfmodel.report.questions import QUESTIONS, Question
from perfmodel.report.situation import NotApplicableError, Situation
from perfmodel.result import Comparison, ParametersId
from perfmodel.scaling.result import ScaleResult
from perfmodel.scenario import Scenario
from perfmodel.sizes import format_size
from perfmodel.workers import Progress

Watch = Callable[[str], AbstractContextManager[Progress | None]]
"""Shows the progress of the work that it is told the name of."""


Drawn = Answer | Comparison | ScaleResult
"""What a figure is drawn from."""


@dataclass(frozen=True)
class Answered:
    """A report, and by the stem of its file what each figure is drawn from."""

    report: Report
    figures: dict[str, Drawn]


@contextmanager
def _unwatched(what: str) -> Iterator[None]:
    yield None


def make_report(
    scenario: Scenario,
    parameters: ParameterSet | None = None,
    *,
    threads: int | None = None,
    watch: Watch = _unwatched,
    words: tuple[str, ...] = (),
) -> Answered:
    """Answer the eleven questions about one guest.

    Parameters
    ----------
    scenario : Scenario
    parameters : ParameterSet, optional
        Default: the default preset.
    threads : int, optional
        Default: one a core. Changes nothing in the result.
    watch : callable, optional
        Called with what is being done.
    words : tuple of str
        Command-line options that choose ``parameters``, to be quoted in the commands that answers give.

    Raises
    ------
    InputError
        The scenario cannot be run, or maps nothing.
    ModelError
        The model contradicts itself, in whichever question.
    """
    situation = Situation.of(scenario, parameters or load_parameters(), threads, words)
    with watch("populating, regions of 1 GiB") as progress:
        done = situation.populate(situation.scenario, progress)
    if not any(row.pages.mapped for row in done.rows):
        raise InputError("no page of the guest is private and can be mapped: accepted is a guest that has one or more")
    answers: list[Answer] = []
    figures: dict[str, Drawn] = {}
    for number, question in enumerate(QUESTIONS, 1):
        with watch(f"question {number} of {len(QUESTIONS)}, {question.name}") as progress:
            answer, drawn = ask(number, question, situation, progress)
        answers.append(answer)
        figures |= drawn
    report = Report(
        version=__version__,
        seed=situation.scenario.seed,
        parameters=ParametersId(situation.parameters.name, situation.parameters.sha256),
        scenario=situation.scenario.describe(),
        headline=f"{described(situation)}: {headline(situation, done, ratios_of(situation, done))}",
        answers=answers,
    )
    return Answered(report, figures)


def ask(
    number: int, question: Question, situation: Situation, progress: Progress | None
) -> tuple[Answer, dict[str, Drawn]]:
    """Return the answer, or one that says why there is none, and what its figures are drawn from."""
    try:
        found = question.answer(situation, progress)
    except NotApplicableError as reason:
        return Answer(number=number, question=question.text, reason=f"Not applicable: {reason}."), {}
    except InputError as error:
        return Answer(number=number, question=question.text, reason=f"Not answered: {error}."), {}
    answer, *behind = found if isinstance(found, tuple) else (found,)
    drawn: list[Drawn] = [answer] if any(group.drawn for group in answer.groups) else []
    stems = [f"{number:02}-{question.name}", f"{number:02}-{question.name}-more"]
    figures = dict(zip(stems, [*drawn, *behind], strict=False))
    return msgspec.structs.replace(answer, number=number, question=question.text, figures=list(figures)), figures


def described(situation: Situation) -> str:
    """Return in a few words which guest the report is about."""
    scenario = situation.scenario
    parts = [format_size(scenario.memory_bytes), scenario.backing]
    if scenario.guest != "linux-lazy":
        parts.append(f"guest {scenario.guest}")
    if scenario.vcpus > 1:
        parts.append(f"{scenario.vcpus} vCPUs")
    parts.append(f"{situation.shattered_folios:,} of {situation.whole_folios:,} 1G folios shattered")
    return ", ".join(parts)
