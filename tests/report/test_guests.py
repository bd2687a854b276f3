"""Do questions that have no meaning for a guest say so, and do all others still have an answer?"""

import pytest

from perfmodel import Scenario
from perfmodel.errors import InputError, ModelError
from perfmodel.parameters import load_parameters
from perfmodel.report import build, checks, many_vcpus, questions, situation, steady_state
from perfmodel.report.build import make_report


@pytest.fixture(autouse=True)
def few_samples(few, monkeypatch):
    """What is asked here is whether there is an answer, not how wide its interval is."""
    for module in (situation, steady_state):
        monkeypatch.setattr(module, "SAMPLES", 128)
    monkeypatch.setattr(many_vcpus, "CAUSE_SAMPLES", 4)


def unanswered(report):
    return {answer.number: answer.reason for answer in report.answers if answer.reason is not None}


def test_memory_without_struct_page():
    words = ("--preset", "gnr-6980p", "--set", "flush_line=4")
    parameters = load_parameters("gnr-6980p", None, ("flush_line=4",))
    report = make_report(Scenario(memory="1GiB", backing="pfnmap", shattered=1.0), parameters, words=words).report
    assert all("--preset gnr-6980p --set flush_line=4" in answer.command for answer in report.answers[1:])
    reasons = unanswered(report)
    assert set(reasons) == {1}
    assert reasons[1].startswith("Not applicable: the memory has no struct page, so only pfn can map it")
    assert "no other interface can" in report.headline
    columns = {row.column for row in report.answers[7].groups[0].rows}
    assert columns == {"pfn"}
    assert any("not applicable" in note for note in report.answers[1].notes)


def test_a_module_that_cannot_be_demoted():
    feature = "ENHANCED_DEMOTE_INTERRUPTIBILITY"
    report = make_report(Scenario(memory="1GiB", features_off=(feature,), interfaces=("folio-strict", "pfn"))).report
    reasons = unanswered(report)
    assert set(reasons) == {4}
    assert feature in reasons[4]
    assert "no interface maps at 2M" in report.answers[5].headline


@pytest.mark.parametrize(
    "given",
    [
        {"memory": "64MiB", "backing": "order0", "guest": "touch-first", "interfaces": ("page-4k", "pfn")},
        {"memory": "1GiB", "backing": "hugetlb-2m", "guest": "prefault", "vcpus": 2, "flush_first_page_only": True},
        {"memory": "64MiB", "backing": "thp", "layout": "q35", "guest": "accept-range", "levels": 5},
    ],
    ids=["order0", "hugetlb-2m", "thp"],
)
def test_other_guests(given):
    report = make_report(Scenario(shattered=1.0, **given)).report
    assert unanswered(report) == {}
    assert len({answer.question for answer in report.answers}) == 11


def test_one_that_fails_does_not_take_the_others(monkeypatch):
    def fails(asked, progress):
        raise InputError("it cannot be")

    asked = [questions.QUESTIONS[0]._replace(answer=fails), *questions.QUESTIONS[:2]]
    monkeypatch.setattr(build, "QUESTIONS", tuple(asked))
    reasons = unanswered(make_report(Scenario(memory="1GiB", interfaces=("pfn",))).report)
    assert reasons == {1: "Not answered: it cannot be."}


def test_a_contradiction_is_a_failure(monkeypatch):
    def contradicts(asked, progress):
        raise ModelError("2 leaves too many")

    asked = [questions.Question("?", "wrapper", checks.answer)._replace(answer=contradicts)]
    monkeypatch.setattr(build, "QUESTIONS", tuple(asked))
    with pytest.raises(ModelError, match="2 leaves"):
        make_report(Scenario(memory="1GiB", interfaces=("pfn",)))


def test_a_guest_without_private_pages_is_refused():
    with pytest.raises(InputError, match="no page of the guest is private"):
        make_report(Scenario(memory="1GiB", shattered=1.0, shared_pages=1 << 18))


@pytest.mark.parametrize(
    "given",
    [{"memory": "4KiB"}, {"memory": "1GiB", "shattered": 1.0, "shared_pages": (1 << 18) - 1}],
    ids=["4KiB", "one"],
)
def test_the_smallest_guests(given):
    report = make_report(Scenario(interfaces=("folio-strict", "pfn"), **given)).report
    assert all("division" not in (answer.reason or "") for answer in report.answers)
