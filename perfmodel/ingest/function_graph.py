"""The kernel's function_graph tracer: total and self time of each function, CPU by CPU.

Layout: Linux ``kernel/trace/trace_functions_graph.c``.
"""

import re
from collections import Counter
from typing import NamedTuple

from perfmodel.ingest.contract import LEVELS, Measurement, Options, Reading, Spread
from perfmodel.ingest.lines import Lines

KIND = "function-graph"
ACCEPTS = "output of tracefs' function_graph tracer or of perf ftrace -G"

_MOST_FUNCTIONS = 10_000
_DEEPEST = 512
_ERROR_BIT = 1 << 63

_PLAIN = re.compile(r"\s*(\d{1,6})\)\s+(?:[+!#*@$]\s*)?(?:(-?[\d.]{1,20}) us\s*)?\|(\s*)(.*)")
_LINE = re.compile(
    r"\s*(?:\d+\.\d+ \|\s+)?(\d{1,6})\)\s+(?:(?:\S.*)?-\d+\s+\|\s+)?"
    r"(?:[-+.\w]{4,6}\s+\|\s+)?(?:[+!#*@$]\s*)?(?:(-?[\d.]{1,20}) us\s*)?\|(\s*)(.*)"
)
"""With the columns that options add before the duration: absolute time, task, latency flags."""
_OPEN = re.compile(r"([\w.$]+)(?: \[[\w-]+\])?\s*\((?:.*)\)\s*\{")
_LEAF = re.compile(r"([\w.$]+)(?: \[[\w-]+\])?\s*\((?:.*?)\);")
_RETURN = re.compile(r"/\*.*?(?:ret\s*=|=)\s*(-?(?:0x)?[0-9a-f]{1,20})\b")
_SWITCH = re.compile(r"\s*(?:\d+\.\d+ \|\s+)?(\d{1,6})\)\s.*-\d+\s+=>\s+.*-\d+")
_IRQ = re.compile(r"\s*(?:\d+\.\d+ \|\s+)?(\d{1,6})\)\s.*(==========>|<==========)")
_LEVEL = re.compile(r"kvm_mmu_spte_requested: .*level (\d)")
_LOST = re.compile(r"LOST (\d{1,15}) EVENTS")
_LOOKS = re.compile(r"^\s*(?:\d+\.\d+ \|\s+)?\d+\)\s+.*\|\s+(?:[\w.]+.*\(.*\)\s*[{;]|\})", re.MULTILINE)

LEVELLED = ("tdh_mem_page_aug",)
"""Functions that follow kvm_mmu_spte_requested, whose level is theirs."""


class _Frame:
    """A function that has been entered and not left."""

    __slots__ = ("children", "indent", "interrupted", "level", "name")

    def __init__(self, name: str, indent: int, level: str | None) -> None:
        self.name, self.indent, self.level = name, indent, level
        self.children = 0.0
        self.interrupted = False


class _Times(NamedTuple):
    total: Spread
    own: Spread


def recognises(head: str) -> bool:
    """Whether the header names the tracer, or a line has CPU, bar and a call."""
    return "tracer: function_graph" in head or bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Follow calls and returns on one stack for each CPU."""
    return _Stacks(lines, options).run()


class _Stacks:
    def __init__(self, lines: Lines, options: Options) -> None:
        self.lines, self.report, self.options = lines, lines.report, options
        self.stacks: dict[int, list[_Frame]] = {}
        self.levels: dict[int, str | None] = {}
        self.times: dict[tuple[str, str | None], _Times] = {}
        self.failed: dict[str, Counter[str]] = {}
        self.interrupted = self.lost = 0

    def run(self) -> Reading:
        drop = self.report.drop
        plain, any_columns = _PLAIN.match, _LINE.match
        for line in self.lines:
            if line.startswith("#") or not line:
                continue
            found = plain(line) or any_columns(line)
            if found is None:
                self._other(line)
                continue
            cpu, duration, indent, rest = found.groups()
            if rest.startswith("/*"):
                if level := _LEVEL.search(rest):
                    self.levels[int(cpu)] = LEVELS.get(int(level[1]))
                    self.report.used += 1
                continue
            why = self._call(int(cpu), duration, len(indent), rest)
            if why:
                drop(why)
            else:
                self.report.used += 1
        return self._result()

    def _other(self, line: str) -> None:
        if found := _SWITCH.match(line):
            self.stacks.pop(int(found[1]), None)
        elif found := _IRQ.match(line):
            for frame in self.stacks.get(int(found[1]), ()):
                frame.interrupted = True
        elif found := _LOST.search(line):
            self.lost += int(found[1])
            self.stacks.clear()
            self.report.drop("that says events were lost")
        elif line.strip(" -\r"):
            self.report.drop("cut or damaged")

    def _call(self, cpu: int, duration: str | None, indent: int, rest: str) -> str | None:
        stack = self.stacks.setdefault(cpu, [])
        if len(self.stacks) > 1 << 14:
            self.stacks.clear()
        if duration is None:
            found = _OPEN.match(rest)
            if found is None:
                return "cut or damaged"
            while stack and stack[-1].indent >= indent:  # its closing line is missing
                stack.pop()
            if len(stack) < _DEEPEST:
                stack.append(_Frame(found[1], indent, None))
            return None
        try:
            ns = float(duration) * 1e3
        except ValueError:
            return "cut or damaged"
        if ns < 0:
            return "with a negative duration"
        if rest.startswith("}"):
            while stack and stack[-1].indent > indent:
                stack.pop()
            if not stack or stack[-1].indent != indent:
                return "that close a function not seen open"
            frame = stack.pop()
            own, interrupted, name = max(ns - frame.children, 0.0), frame.interrupted, frame.name
        else:
            found = _LEAF.match(rest)
            if found is None:
                return "cut or damaged"
            while stack and stack[-1].indent >= indent:
                stack.pop()
            name, own, interrupted = found[1], ns, False
        if stack:
            stack[-1].children += ns
        self._count(cpu, name, ns, own, interrupted, rest)
        return None

    def _count(self, cpu: int, name: str, ns: float, own: float, interrupted: bool, rest: str) -> None:
        if interrupted:
            self.interrupted += 1
            return
        status = _status(rest)
        if status & _ERROR_BIT and name.startswith("tdh_"):
            codes = self.failed.setdefault(name, Counter())
            codes[f"{status:#018x}" if len(codes) < 64 else "others"] += 1
            return
        key = (name, self.levels.get(cpu) if name in LEVELLED else None)
        times = self.times.get(key)
        if times is None:
            if len(self.times) >= _MOST_FUNCTIONS:
                return
            times = self.times[key] = _Times(Spread(), Spread())
        times.total.add(ns)
        times.own.add(own)

    def _result(self) -> Reading:
        report = self.report
        report.renderer = "function_graph"
        report.units.add("us")
        report.warn("each traced child adds to its parents' time; trace only the function itself for a calibration")
        if self.lost:
            report.warn(f"{self.lost:,} events were lost; functions around a gap are left out")
        if self.interrupted:
            report.warn(f"{self.interrupted:,} calls were interrupted and are left out of means")
        found = [
            Measurement.of(name, level, times.total, self_ns=times.own.mean)
            for (name, level), times in sorted(self.times.items(), key=str)
        ]
        facts = {
            "failed_calls": {name: dict(codes) for name, codes in sorted(self.failed.items())},
            "lost_events": self.lost, "interrupted_calls": self.interrupted,
        }  # fmt: skip
        return Reading(report, found, facts)


def _status(rest: str) -> int:
    found = _RETURN.search(rest)
    if not found or rest.find("/*") < 0:
        return 0
    text = found[1]
    try:
        return int(text, 16 if "x" in text else 10) & ((1 << 64) - 1)
    except ValueError:
        return 0
