"""The eleven questions, and who answers them."""

from collections.abc import Callable
from typing import NamedTuple

from perfmodel.report import (
    checks,
    converting,
    dynamic_pamt,
    huge_fault,
    many_vcpus,
    populating,
    prefaulting,
    steady_state,
    tearing_down,
    wrapper,
    write_lock,
)
from perfmodel.report.answer import Answer
from perfmodel.report.situation import Situation
from perfmodel.result import Comparison
from perfmodel.scaling.result import ScaleResult
from perfmodel.workers import Progress

Answering = Callable[[Situation, Progress | None], Answer | tuple[Answer, Comparison | ScaleResult]]
"""Returns an answer, with the result behind it where that has a figure of its own."""


class Question(NamedTuple):
    """What is asked, a short name of it, and the function that answers."""

    text: str
    name: str
    answer: Answering


QUESTIONS = (
    Question(
        "What does the wrapper's interface itself (page, folio, PFN) cost per call, at 4K and at 2M?",
        "wrapper",
        wrapper.answer,
    ),
    Question(
        "How many faults, SEAMCALLs and exits, and how much time, does it take to populate the guest, by interface, "
        "backing and share of split folios; and from which share on do the interfaces differ by 1 % and by 10 %?",
        "populate",
        populating.answer,
    ),
    Question(
        "What does one 4K conversion from private to shared inside a 1G folio cost under each rule, and a storm of "
        "them, by number of vCPUs?",
        "convert",
        converting.answer,
    ),
    Question(
        "How much of a 2M fault is cache-line flushing, host clearing and module zeroing, and what does each knob "
        "save?",
        "fault-2m",
        huge_fault.answer,
    ),
    Question("What would sanity checks of each PFN add?", "checks", checks.answer),
    Question(
        "What does a mismatch of accept level cost under the write lock, and when does the zero-step filter act?",
        "write-lock",
        write_lock.answer,
    ),
    Question("What does Dynamic PAMT add, and what does it save?", "dynamic-pamt", dynamic_pamt.answer),
    Question("How long does the tear-down take?", "teardown", tearing_down.answer),
    Question(
        "How much memory do tables take, and how far do page walks reach, in steady state?",
        "steady",
        steady_state.answer,
    ),
    Question("What does prefaulting save against faults on demand?", "prefault", prefaulting.answer),
    Question(
        "How does populating scale with the number of vCPUs, and which lock or line stops it?",
        "vcpus",
        many_vcpus.answer,
    ),
)
"""Those of section 1 of the design, in its order; the first is number 1."""
