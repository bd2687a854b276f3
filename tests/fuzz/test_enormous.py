"""Numbers beyond all measure: refused at once, or answered; nothing hangs and nothing is eaten up."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_fuzz import call_checked

HUGE = str(10**18)
_STEADY = ("steady", "--memory", "4M", "--accesses", "1000")
_SCALE = ("scale", "--memory", "4M", "--interface", "pfn", "--samples", "0")

REFUSED = [
    ("compare", "--memory", HUGE + "T"),
    ("compare", "--memory", "9" * 5000),
    ("compare", "--memory", "0." + "9" * 5000 + "T"),
    ("compare", "--memory", "4M", "--shared-pages", HUGE),
    ("compare", "--memory", "4M", "--vcpus", HUGE),
    ("compare", "--memory", "4M", "--tds", HUGE),
    ("compare", "--memory", "4M", "--threads", HUGE),
    ("compare", "--memory", "4M", "--seed", HUGE + HUGE),
    ("compare", "--memory", "4M", "--backing", "thp", "--block-shares", ",".join(f"{i}=0.001" for i in range(1000))),
    (*_STEADY[:3], "--accesses", HUGE),
    (*_STEADY, "--rate", "1e300"),
    (*_STEADY, "--zipf-exponent", "1e300", "--access", "zipf"),
    (*_STEADY, "--hardware", "l3=" + HUGE),
    (*_STEADY, "--working-set", HUGE + "T"),
    (*_SCALE, "--counts", ",".join(map(str, range(1, 5000)))),
    (*_SCALE, "--counts", HUGE),
    (*_SCALE[:-1], HUGE),
    ("sensitivity", "--seed", HUGE),
    ("conform", "x.gz", "--differences", HUGE),
    ("ingest", "auto", "{trace.txt}", "--vcpus", HUGE),
    ("ingest", "auto", "{trace.txt}", "--bytes-per-vcpu", "9" * 5000),
    ("validate", "--max-ratio", "nan"),
]

ANSWERED = [
    ("compare", "--memory", "256TiB", "--levels", "5", "--interface", "pfn"),
    (*_STEADY, "--access", "zipf", "--zipf-exponent", "10"),
    (*_STEADY, "--access", "zipf", "--zipf-exponent", "0.01"),
    (*_STEADY, "--access", "zipf", "--zipf-exponent", "1.0000000000001"),
    ("steady", "--memory", "64TiB", "--working-set", "1TiB", "--accesses", "1000", "--access", "zipf",
     "--zipf-exponent", "0.9999999999"),
    (*_SCALE, "--counts", "1024"),
    ("compare", "--memory", "4M", "--interface", "pfn", "--threads", "1024"),
]  # fmt: skip


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: " ".join(words)[:60])
def test_refused(words: tuple[str, ...], room: Path, fill_in: Callable[..., list[str]]) -> None:
    assert call_checked(fill_in(words), room).status == 2


@pytest.mark.parametrize("words", ANSWERED, ids=lambda words: " ".join(words)[:60])
def test_answered(words: tuple[str, ...], room: Path) -> None:
    assert call_checked(words, room).status == 0
