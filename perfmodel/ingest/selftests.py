"""KVM selftests: demand_paging_test, mmu_stress_test, max_guest_memory_test, memslot_perf_test.

Layouts: Linux ``tools/testing/selftests/kvm``. Their guests are no TDs: what they tell are facts, not observations.
"""

import re
from typing import Any

from perfmodel.ingest.contract import Options, Reading
from perfmodel.ingest.lines import Lines

KIND = "selftests"
ACCEPTS = "output of a KVM selftest: demand_paging, mmu_stress, max_guest_memory or memslot_perf"

_SECONDS = r"(-?\d{1,12}\.-?\d{1,9})s"
_TOTAL = re.compile(r"Total guest execution time:\s*" + _SECONDS)
_RATE = re.compile(r"(Overall|Per-vcpu) demand paging rate:\s*([\d.]{1,30}) pgs/sec")
_GUEST = re.compile(r"Running with (\d{1,9})gb of guest memory and (\d{1,6}) vCPUs")
_RUNS = re.compile(r"(run1|run2|reset|ro|rw) = " + _SECONDS)
_TESTING = re.compile(r"Testing (.{1,60}?) performance with (\d+) runs")
_ITERATIONS = re.compile(r"Done (\d{1,12}) iterations, avg " + _SECONDS + " each")
_LOOKS = re.compile(
    r"Total guest execution time:|demand paging rate|gb of guest memory and"
    r"|Testing .* performance with|run1 = "
)


def recognises(head: str) -> bool:
    """Whether a line is one that a selftest prints."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Read results; progress that overwrites itself with carriage returns is several messages on one line."""
    report = lines.report
    facts: dict[str, Any] = {}
    tests: dict[str, int] = {}
    test = None
    for line in lines:
        used = dropped = False
        for message in line.split("\r"):
            text = message.removeprefix("# ")
            if found := _TOTAL.match(text):
                seconds = _seconds(found[1])
                dropped |= seconds is None
                used |= _keep(facts, "seconds", seconds)
            elif found := _RATE.match(text):
                used |= _keep(
                    facts, "printed_rate" if found[1] == "Overall" else "printed_rate_per_vcpu", _rate(found[2])
                )
            elif found := _GUEST.match(text):
                facts |= {"guest_gb": int(found[1]), "vcpus": int(found[2])}
                used = True
            elif text.startswith("run1 = "):
                for name, value in _RUNS.findall(text):
                    used |= _keep(facts, name, _seconds(value))
                dropped |= not used
            elif found := _TESTING.match(text):
                test = found[1]
            elif test and (found := _ITERATIONS.match(text)):
                used |= len(tests) < 1000
                tests[test] = int(found[1])
        if used:
            report.used += 1
        elif dropped:
            report.drop("with a time that is negative or cut")
    report.renderer = "kselftest" if facts or tests else ""
    report.units.add("s")
    if tests:
        facts["tests"] = tests
    if "seconds" in facts:
        _recompute(facts, options, report.warn)
    report.warn("the guest of a selftest is no TD: facts, not observations")
    return Reading(report, [], facts)


def _keep(facts: dict[str, Any], key: str, value: float | None) -> bool:
    if value is None:
        return False
    facts[key] = value
    return True


def _seconds(text: str) -> float | None:
    if "-" in text:
        return None
    return float(text)


def _rate(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _recompute(facts: dict[str, Any], options: Options, warn: Any) -> None:
    """Work out the rate from the time: some kernels divide nanoseconds by 1e8 when they print it."""
    if options.vcpus is None:
        warn("vCPUs and memory are not printed: give --vcpus and --bytes-per-vcpu to have the rate worked out")
        return
    pages = options.vcpus * options.bytes_per_vcpu // 4096
    if facts["seconds"] <= 0:
        return
    facts["rate"] = pages / facts["seconds"]
    printed = facts.get("printed_rate")
    if printed and abs(printed / facts["rate"] - 1) > 0.01:
        warn(f"the printed rate, {printed:g} pages/s, is not what the time gives, {facts['rate']:g}: not used")
