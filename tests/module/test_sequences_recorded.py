"""Does the plain-Python twin answer recorded sequences as the real module did, and end in the same state?

The records are read here as plain JSON, so that neither their reader nor the kernels stand between twin and vectors.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import twin_words as tw
from twin_calls import seamcall
from twin_guest import accept, enter, ept_violation, leave
from twin_module import Answer, Td, TwinModule

REGISTERS = ("rcx", "rdx", "r8", "r9", "r10", "r11")
FILES = [
    "boot_a", "boot_b", "cont_a", "cont_b", "conv_a", "conv_b", "dir_1g_mapped", "dir_1g_part", "dir_1g_pend",
    "dir_edge_a", "dir_edge_b", "dir_inject", "dir_l4_g0", "dir_l4_g1", "dir_misc_a", "dir_misc_b", "dir_order_a",
    "dir_order_b", "dir_state_4l", "dir_state_5l_g1", "dir_walk_4l", "dir_walk_5l", "dir_walk_5l_g1", "fuzz_a",
    "fuzz_b", "fuzz_c", "fuzz_d",
]  # fmt: skip


def number(value: Any) -> int:
    """Return a value of the files, which write 64-bit words as hex strings."""
    return int(value, 16) if isinstance(value, str) else int(value)


def numbers(values: dict[str, Any]) -> dict[str, int]:
    return {name: number(value) for name, value in values.items() if name in (*REGISTERS, "rax")}


def build(header: dict[str, Any]) -> TwinModule:
    """Return the twin before record 0."""
    platform = header["platform"]
    tds = [
        Td(
            number(td["tdr"]), number(td["sept_root"]), td["levels"], 51 if td["gpaw"] else 47, td["op_state"],
            td["lifecycle"], td["fatal"], td["num_tdcx"], td["num_vcpus"], td["chldcnt"], td["td_epoch"],
            list(td["refcount"]),
        )
        for td in header["tds"]
    ]  # fmt: skip
    blocks = set()
    for tdmr in platform["tdmr"]:
        first = number(tdmr["base"]) >> 30
        blocks |= {first + i for i in range(number(tdmr["initialized"]) >> 30)}
    base, size = number(platform["seamrr"]["base"]), number(platform["seamrr"]["size"])
    module = TwinModule(blocks, tds, platform["hkid_start_bit"], platform["private_hkid_min"], range(base, base + size))
    for td in header["tds"]:
        for page in td["tdcx"]:
            module.entry(0, number(page)).type = tw.TDCX
            module.entry(0, number(page)).owner = number(td["tdr"]) >> 12
    for page in header["pamt_preset"]:
        entry = module.entry(page["level"], number(page["hpa"]))
        entry.type, entry.owner = page["type"], number(page["owner"]) >> 12
    for tdmr in platform["tdmr"]:
        base, end = number(tdmr["base"]), number(tdmr["initialized"])
        for offset, size in tdmr["reserved"]:
            for at in range(number(offset), min(number(offset) + number(size), end), 4096):
                module.entry(0, base + at).type = tw.RSVD
    return module


@dataclass
class Replay:
    """The twin, fed with records."""

    module: TwinModule

    def record(self, record: dict[str, Any]) -> None:
        """Execute a record; what it gave must be what the twin gives."""
        op, given, out = record["op"], record["in"], record["out"]
        if op in ("LOCK", "UNLOCK"):
            self._lock(op, given, number(out["rc"]))
        elif op == "SET":
            setattr(self.module.tds[given["td"]], given["field"], number(given["value"]))
        elif op == "POKE":
            td = self.module.tds[given["td"]]
            self.module.store(self.module.find(td, number(given["gpa"]), given["level"]), number(given["value"]))
        elif op == "VCPU_EXIT":
            leave(self.module.tds[given["td"]], given["vcpu"])
        elif op == "VCPU_ENTER":
            answer, epoch, flushed = enter(
                self.module, self.module.tds[given["td"]], given["vcpu"], bool(given["new_assoc"])
            )
            assert (answer.rax, epoch, flushed) == (number(out["rax"]), out.get("epoch"), out.get("invept")), record
        else:
            self._call(record, op, given, out)

    def _lock(self, op: str, given: dict[str, Any], rc: int) -> None:
        td, hpa, gpa = given.get("td", -1), number(given.get("hpa", 0)), number(given.get("gpa", 0))
        kind, level, exclusive = given["obj"], given.get("level", 0), given.get("mode", "ex") == "ex"
        if op == "UNLOCK":
            self.module.unlock(kind, exclusive, td, hpa, gpa, level)
        else:
            status = self.module.lock(kind, exclusive, td, hpa, gpa, level, given.get("side") == "guest")
            assert status == rc, (given, hex(rc))

    def _call(self, record: dict[str, Any], op: str, given: dict[str, Any], out: dict[str, Any]) -> None:
        answer = self.answer(record, op, numbers(given))
        told = numbers(out)
        got = {name: getattr(answer, name) for name in told}
        assert got == told, (record, {name: hex(value) for name, value in got.items()})
        assert answer.exit == ("exit" in out and out["exit"] is not None)
        assert answer.interrupted == bool(out.get("intr"))
        if "se" in record:
            td = self.module.tds[record["td"]]
            at = self.module.find(td, number(given["rcx"]), record.get("l", 0))
            assert [at.level, hex(self.module.raw(at))] == record["se"], record

    def answer(self, record: dict[str, Any], op: str, given: dict[str, int]) -> Answer:
        """Make the call that a record is about."""
        intr = record.get("intr")
        if op == "TDG.MEM.PAGE.ACCEPT":
            return accept(self.module, self.module.tds[record["td"]], given["rcx"], intr["after"] if intr else None)
        if op == "TD.EPT_VIOLATION":
            return ept_violation(self.module, self.module.tds[record["td"]], given["rcx"], given["rdx"])
        if op in ("TDH.MEM.PAGE.PROMOTE", "TDH.MEM.PAGE.DEMOTE"):
            given["interrupt"] = intr is not None and pending(intr)
        if "v" in record:
            given["version"] = record["v"]
        return seamcall(self.module, op, **given)


def pending(intr: dict[str, Any]) -> bool:
    """Whether the first test for an interrupt finds one: bit 0 of the MSR counts only if RFLAGS.IF is set."""
    msr, flags = number(intr["msr"]), number(intr["rflags"])
    return intr["after"] == 0 and bool(msr & ~1 or (msr & 1 and flags >> 9 & 1))


def sept_of(module: TwinModule, td: Td) -> Iterator[tuple[int, int, int, int]]:
    """Yield (table, index, level, raw) of every entry that is not exactly FREE."""
    tables = [(td.root, td.levels - 1)]
    while tables:
        table, level = tables.pop()
        for index, raw in enumerate(module.pages[table]):
            if raw != tw.FREE:
                yield table, index, level, raw
                if tw.state(raw) in tw.NON_LEAF:
                    tables.append((raw & tw.HPA, level - 1))


def assert_final(module: TwinModule, final: dict[str, Any]) -> None:
    """TDs, S-EPT entries and PAMT entries are those of the file's last line."""
    for td, told in zip(module.tds, final["tds"], strict=True):
        for name in ("fatal", "lifecycle", "num_tdcx", "op_state", "num_vcpus", "chldcnt", "refcount"):
            assert getattr(td, name) == told[name]
        words = (td.epoch, td.op_state_lock.lock, td.tree.lock, td.epoch_lock.lock)
        assert words == (told["td_epoch"], told["op_state_lock"], told["sept_lock"], told["epoch_lock"])
    for td, sept in zip(module.tds, final["sept"], strict=True):
        expected = set()
        for gpa, level, raw, n, step, table in sept["runs"]:
            first = number(gpa) >> (12 + 9 * level) & 511
            expected |= {(number(table), first + i, level, number(raw) + i * number(step)) for i in range(n)}
        assert set(sept_of(module, td)) == expected
    runs: dict[tuple[int, int], tuple[int, ...]] = {}
    for hpa, level, kind, owner, bepoch, lock, n in final["pamt"]["runs"]:
        first = number(hpa) >> (12 + 9 * level)
        runs |= {(level, first + i): (kind, number(owner), bepoch, lock) for i in range(n)}
    used = {at: e for at, e in module.pamt.items() if e.type or e.lock}
    assert {at: (e.type, e.owner << 12, e.bepoch, e.lock) for at, e in used.items()} == runs


@pytest.mark.parametrize("name", FILES)
def test_the_twin_agrees_with_the_records(shared: Path, name: str) -> None:
    with gzip.open(shared / "vectors" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        header, *records = map(json.loads, stream)
    replay = Replay(build(header))
    for record in records[:-1]:
        replay.record(record)
    assert_final(replay.module, records[-1])
