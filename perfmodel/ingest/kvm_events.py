"""KVM tracepoints as tracefs, trace-cmd report and perf script print them: kvm_exit to kvm_entry, thread by thread.

Layouts: Linux ``arch/x86/kvm/trace.h``, ``arch/x86/kvm/mmu/mmutrace.h`` and libtraceevent's kvm plugin.
"""

import re
from collections import Counter
from typing import NamedTuple

from perfmodel.ingest.contract import LEVELS, Measurement, Options, Reading, Spread, split_gpa
from perfmodel.ingest.lines import Lines

KIND = "kvm-events"
ACCEPTS = "lines of kvm:kvm_exit, kvm:kvm_entry, kvm:kvm_page_fault and kvmmmu:kvm_mmu_spte_requested"

_REASONS = {48: "EPT_VIOLATION", 49: "EPT_MISCONFIG", 76: "SEAMCALL", 77: "TDCALL"}
_MOST_THREADS = 1 << 16
_MOST_HEADS = 1 << 18

# the search begins with a bracket, which no regular expression engine has to look for twice; what stands before it is
# the same for all lines of a thread on one CPU and is looked up
_EVENT = re.compile(
    r"\]\s+(?:\S{4,8}\s+)?(\d{1,12})\.(\d{3,9}):\s+(?:\w+:)?kvm_(exit|entry|page_fault|mmu_spte_requested):\s+"
)
_THREAD = re.compile(r"(?:^|(-)|\s)(\d{1,10})(?:/\d+)?\s+(?:\([^)]*\)\s*)?\[\d+$")
_RENDERED = re.compile(r"\]\s+(\S{4,8}\s+)?\d+\.\d+:\s+(\w+:)?kvm_")
_EXIT = re.compile(
    r"(?:vcpu (\d{1,9}),? )?reason (\S+)"
    r"(?: rip (?:0x)?([0-9a-f]+))?"
    r"(?: info1? ?(?:0x)?([0-9a-f]{1,16}) (?:info2 )?(?:0x)?([0-9a-f]{1,16}))?"
)
_VCPU = re.compile(r"vcpu (\d{1,9})\b")
_ADDRESS = re.compile(r"address (?:0x)?([0-9a-f]{1,16})\b")
_SPTE = re.compile(r"gfn (?:0x)?([0-9a-f]{1,10}) pfn (?:0x)?([0-9a-f]{1,10}) level (\d{1,3})\b")
_LOST = re.compile(r"\[?LOST (\d{1,15}) EVENTS|EVENTS DROPPED|PERF_RECORD_LOST\D+(\d{1,15})", re.IGNORECASE)
_LOOKS = re.compile(r"\]\s+(?:\S{4,8}\s+)?\d+\.\d{3,9}:\s+(?:\w+:)?kvm_\w+:")


class _Thread:
    """A vCPU's thread between kvm_exit and kvm_entry."""

    __slots__ = ("accept", "clock", "gfn", "level", "pfn", "reason", "shared", "since", "vcpu")

    def __init__(self, vcpu: int) -> None:
        self.vcpu = vcpu
        self.since = self.clock = -1
        self.reason = ""
        self.forget()

    def forget(self) -> None:
        """Start a new exit, of which nothing is known."""
        self.since = -1
        self.accept: str | None = None
        self.gfn = self.pfn = -1
        self.shared: int | None = None
        self.level: str | None = None


class AcceptRequest(NamedTuple):
    """What an extended exit qualification of type ACCEPT says (TDX module base specification)."""

    level: str


def accept_request(info2: int) -> AcceptRequest | None:
    """Return the level that an ACCEPT asked for, or None for another type of exit."""
    if info2 & 0xF != 1:
        return None
    return AcceptRequest(LEVELS.get((info2 >> 32 & 7) + 1, "other"))


def recognises(head: str) -> bool:
    """Whether a line has a CPU, a time stamp and an event of KVM."""
    return bool(_LOOKS.search(head))


def read(lines: Lines, options: Options) -> Reading:
    """Pair each kvm_exit with the kvm_entry that follows it on the same thread."""
    return _Pairing(lines, options).run()


class _Pairing:
    def __init__(self, lines: Lines, options: Options) -> None:
        self.report = lines.report
        self.lines = lines
        self.options = options
        self.threads: dict[str, _Thread] = {}
        self.spreads: dict[tuple[str, str | None], Spread] = {}
        self.exits: Counter[str] = Counter()
        self.accepts: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.shared_bits: set[int] = set()
        self.lost = self.with_rip = self.unpaired = 0
        self.digits: set[int] = set()

    def run(self) -> Reading:
        search, handlers = _EVENT.search, {
            "exit": self._exit, "entry": self._entry, "page_fault": self._fault, "mmu_spte_requested": self._spte,
        }  # fmt: skip
        by_head: dict[str, _Thread | None] = {}
        scales = {digits: 10 ** (9 - digits) for digits in range(3, 10)}
        drop, used = self.report.drop, 0
        for line in self.lines:
            found = search(line)
            if found is None:
                self._other(line)
                continue
            seconds, fraction, event = found.groups()
            head = line[: found.start()]
            thread = by_head.get(head)
            if thread is None:
                thread = self._thread(head, line, len(fraction))
                if thread is None:
                    continue
                if len(by_head) >= _MOST_HEADS:
                    by_head.clear()
                by_head[head] = thread
            now = int(seconds + fraction) * scales[len(fraction)]
            if now < thread.clock:
                drop("with a time before that of the line above it")
                self._abandon(thread)
                thread.clock = now
                continue
            thread.clock = now
            if why := handlers[event](thread, now, line, found.end()):
                drop(why)
            else:
                used += 1
        self.report.used = used
        return self._result()

    def _thread(self, head: str, line: str, digits: int) -> _Thread | None:
        found = _THREAD.search(head)
        if found is None:
            self.report.drop("cut or damaged")
            return None
        known = self.threads.get(found[2])
        if known is None and len(self.threads) >= _MOST_THREADS:
            self.report.drop("of a thread beyond the first 65536")
            return None
        self.digits.add(digits)
        self._note_renderer(found[1], *_rendering(line))
        if known is None:
            known = self.threads[found[2]] = _Thread(len(self.threads))
        return known

    def _note_renderer(self, dash: str | None, flags: str | None, group: str | None) -> None:
        name = "perf script" if dash is None else ("tracefs" if flags else "trace-cmd report")
        if self.report.renderer not in ("", name):
            self.report.warn(f"lines of {self.report.renderer} and {name} are mixed")
            return
        self.report.renderer = name

    def _other(self, line: str) -> None:
        if found := _LOST.search(line):
            self.lost += int(next((g for g in found.groups() if g), 1))
            self.report.drop("that says events were lost")
            for thread in self.threads.values():
                self._abandon(thread)
        elif "kvm_exit:" in line or "kvm_entry:" in line:
            self.report.drop("cut or damaged")

    def _exit(self, thread: _Thread, now: int, line: str, at: int) -> str | None:
        found = _EXIT.match(line, at)
        if found is None:
            return "cut or damaged"
        self._abandon(thread)
        vcpu, reason, rip, _, info2 = found.groups()
        thread.since, thread.reason = now, _reason(reason)
        if vcpu:
            thread.vcpu = int(vcpu)
        self.exits[thread.reason if len(self.exits) < 256 else "others"] += 1
        if thread.reason == "EPT_VIOLATION":
            self.with_rip += bool(rip and rip.strip("0"))
            asked = accept_request(int(info2, 16)) if info2 else None
            if asked:
                thread.accept = asked.level
                self.accepts[asked.level] += 1
        return None

    def _abandon(self, thread: _Thread) -> None:
        """Forget an exit; its line has told nothing if no entry came."""
        self.unpaired += thread.since >= 0
        thread.forget()

    def _entry(self, thread: _Thread, now: int, line: str, at: int) -> str | None:
        if found := _VCPU.match(line, at):
            thread.vcpu = int(found[1])
        since, thread.since = thread.since, -1
        if since < 0:
            return "kvm_entry without its kvm_exit"
        if thread.reason != "EPT_VIOLATION":
            return None
        private = thread.shared is None and (thread.gfn >= 0 or thread.accept is not None)
        level = thread.level
        what = "private fault" if private else "shared fault" if thread.shared is not None else "EPT violation"
        key = (what, level if private else None)
        spread = self.spreads.get(key)
        if spread is None:
            spread = self.spreads[key] = Spread()
        spread.add(now - since)
        if level:
            self.levels[level] += 1
        if private and self.options.on_fault and thread.gfn >= 0:
            self.options.on_fault(thread.gfn, thread.pfn if thread.pfn >= 0 else None, level, thread.vcpu, since)
        return None

    def _fault(self, thread: _Thread, now: int, line: str, at: int) -> str | None:
        found = _ADDRESS.search(line, at)
        if found is None:
            return "cut or damaged"
        thread.gfn, thread.shared = split_gpa(int(found[1], 16))
        if thread.shared is not None:
            self.shared_bits.add(thread.shared)
        return None

    def _spte(self, thread: _Thread, now: int, line: str, at: int) -> str | None:
        found = _SPTE.search(line, at)
        if found is None:
            return "cut or damaged"
        level = LEVELS.get(int(found[3]))
        if level is None:
            return "with a level that no page table has"
        thread.level, thread.pfn = level, int(found[2], 16)
        if thread.gfn < 0:
            thread.gfn = int(found[1], 16)
        return None

    def _result(self) -> Reading:
        report = self.report
        for thread in self.threads.values():
            self._abandon(thread)
        if self.unpaired:
            report.drop("kvm_exit without its kvm_entry", self.unpaired)
            report.used -= self.unpaired
        if self.lost:
            report.warn(f"{self.lost:,} events were lost; exits around a gap are left out")
        if self.digits and max(self.digits) < 9:
            report.units.add("us")
            report.warn("time stamps are whole us; perf script --ns, or trace-cmd report -t, prints ns")
        elif self.digits:
            report.units.add("ns")
        if self.with_rip:
            report.warn(f"{self.with_rip:,} EPT violations show a RIP: their guest is no TD")
        if any(what == "EPT violation" for what, _ in self.spreads):
            report.warn("faults without kvm_page_fault cannot be told private from shared; record that event too")
        report.warn("tracepoints ran inside the intervals: rows say tracer=service")
        found = [
            Measurement.of(*key, spread, tracer="service") for key, spread in sorted(self.spreads.items(), key=str)
        ]
        facts = {
            "exits": dict(self.exits.most_common()),
            "levels": dict(sorted(self.levels.items())),
            "accept_levels": dict(sorted(self.accepts.items())),
            "shared_bits": sorted(self.shared_bits),
            "lost_events": self.lost,
            "vcpus": len({thread.vcpu for thread in self.threads.values()}),
        }
        return Reading(report, found, facts)


def _rendering(line: str) -> tuple[str | None, str | None]:
    found = _RENDERED.search(line)
    return (found[1], found[2]) if found else (None, None)


def _reason(text: str) -> str:
    if not text[:1].isdigit():
        return text[:40]
    try:
        number = int(text, 0) & 0xFFFF
    except ValueError:
        return text[:40]
    return _REASONS.get(number, str(number))
