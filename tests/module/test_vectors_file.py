"""Are conformance vectors read whole and exactly, and is everything else refused in one line?"""

import gzip
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kernels.replay_record as codes
from perfmodel.errors import InputError
from perfmodel.vectors import REGISTER_COLUMNS, VectorFile, load_vectors, pamt_runs, sept_runs
from perfmodel.vectors.final import FinalSept, PamtRun, SeptRun, expand_pamt, expand_sept
from perfmodel.vectors.header import Word, encode_word
from perfmodel.vectors.statuses import EXIT_NAME, status_name

FILES = 27
RECORDS = 124_709
SMALL = "dir_misc_a"


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "vectors"


@pytest.fixture(scope="module")
def every_file(folder: Path) -> list[VectorFile]:
    return [load_vectors(path) for path in sorted(folder.glob("*.jsonl.gz"))]


@pytest.fixture(scope="module")
def lines(folder: Path) -> list[bytes]:
    return gzip.decompress((folder / f"{SMALL}.jsonl.gz").read_bytes()).splitlines()


def test_every_file_is_read_in_time(folder: Path) -> None:
    started = time.process_time()
    records = sum(len(load_vectors(path).notes) for path in folder.glob("*.jsonl.gz"))
    assert records == RECORDS
    assert time.process_time() - started < 10  # 1.3 s where it was written; the bound allows for a slow machine


def test_counts_of_call_and_status_are_those_of_the_format(every_file: list[VectorFile], folder: Path) -> None:
    expected = {}
    for row in re.findall(r"^\| ([A-Z_.]+) \| (\d+) \| ([A-Z_]+ \d+.*) \|$", (folder / "FORMAT.md").read_text(), re.M):
        pairs = (pair.split(" ") for pair in row[2].split("; "))
        expected |= {(row[0], status): int(number) for status, number in pairs}
    found: Counter[tuple[str, str]] = Counter()
    for vectors in every_file:
        r = vectors.records
        outcome = np.where(r.out_mask & 1, r.regs_out[:, codes.RAX], r.rc) >> np.uint64(32)
        for op, status, is_exit in zip(r.op.tolist(), outcome.tolist(), r.is_exit.tolist(), strict=True):
            found[codes.OPS[op], EXIT_NAME if is_exit else status_name(status)] += 1
    assert len(every_file) == FILES
    assert found == expected


def _rebuilt(vectors: VectorFile, i: int) -> dict[str, Any]:
    """Return record ``i`` as its line gives it, but for ``td``, ``lp`` and ``vcpu``, from the arrays alone."""
    r = vectors.records

    def registers(table: Any, mask: int) -> dict[str, Any]:
        return {name: hex(table[i, n]) for name, n in REGISTER_COLUMNS.items() if mask >> n & 1}

    op = codes.OPS[r.op[i]]
    given, out = registers(r.regs_in, int(r.in_mask[i])), registers(r.regs_out, int(r.out_mask[i]))
    if r.lock_kind[i] >= 0:
        given |= {"obj": codes.LOCK_KINDS[r.lock_kind[i]]}
        given |= {"mode": codes.LOCK_MODES[r.lock_mode[i]]} if r.lock_mode[i] >= 0 else {}
        given |= {"side": codes.LOCK_SIDES[r.lock_side[i]], "gpa": hex(r.lock_gpa[i])} if r.lock_side[i] >= 0 else {}
        given |= {"hpa": hex(r.lock_hpa[i])} if given["obj"] == "pamt" else {}
        given |= {"level": int(r.lock_level[i])} if r.lock_level[i] >= 0 else {}
    if r.set_field[i] >= 0:
        given |= {"field": codes.SET_FIELDS[r.set_field[i]], "value": int(r.set_value[i])}
    if r.poke_level[i] >= 0:
        given |= {"gpa": hex(r.poke_gpa[i]), "level": int(r.poke_level[i]), "value": hex(r.poke_value[i])}
    given |= {"new_assoc": int(r.new_assoc[i])} if r.new_assoc[i] >= 0 else {}
    out |= {"rc": hex(r.rc[i])} if op in ("LOCK", "UNLOCK", "SET", "POKE") else {}
    out |= {"exit": "EPT_VIOLATION"} if r.is_exit[i] else {}
    out |= {"intr": 1} if r.intr_out[i] else {}
    out |= {"epoch": int(r.epoch[i]), "invept": int(r.invept[i])} if r.epoch[i] >= 0 else {}
    line: dict[str, Any] = {"i": i, "op": op, "in": given, "out": out}
    line |= {"l": int(r.level[i])} if r.level[i] >= 0 else {}
    line |= (
        {"v": int(r.version[i])} if op in ("TDH.MEM.SEPT.ADD", "TDH.MEM.SEPT.REMOVE", "TDH.MEM.PAGE.PROMOTE") else {}
    )
    line |= {"se": [int(r.se_level[i]), hex(r.se_raw[i])]} if r.se_level[i] >= 0 else {}
    line |= {"ev": r.ev[i].tolist()} if r.ev[i, 0] >= 0 else {}
    if r.intr_after[i] >= 0:
        line["intr"] = {"after": int(r.intr_after[i]), "msr": hex(r.intr_msr[i]), "rflags": hex(r.intr_rflags[i])}
    line |= {"stubbed": True} if r.stubbed[i] else {}
    return line | ({"note": vectors.notes[i]} if vectors.notes[i] else {})


def test_nothing_is_lost(every_file: list[VectorFile]) -> None:
    """Every line of every file can be rebuilt from the arrays and structs, key by key."""
    for vectors in every_file:
        first, *middle, last = map(json.loads, gzip.decompress(vectors.path.read_bytes()).splitlines())
        for i, line in enumerate(middle):
            for where, key, none in ((line, "td", -1), (line, "lp", 0), (line, "vcpu", -1)):
                place = where["in"] if key in where["in"] else where
                assert getattr(vectors.records, key)[i] == place.pop(key, none)
            assert line == _rebuilt(vectors, i), (vectors.path, i)
        assert first == json.loads(msgspec.json.encode(vectors.header, enc_hook=encode_word))
        assert last == json.loads(msgspec.json.encode(vectors.final, enc_hook=encode_word))


def test_runs_expand_and_compress_to_themselves(every_file: list[VectorFile]) -> None:
    for vectors in every_file:
        bases = [tdmr.base for tdmr in vectors.header.platform.tdmr]
        for sept in vectors.final.sept:
            assert sept_runs(*expand_sept(sept.runs)) == sept.runs
        assert pamt_runs(*expand_pamt(vectors.final.pamt.runs), bases) == vectors.final.pamt.runs


entries = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2), st.integers(0, 3), st.booleans()), unique_by=lambda e: e[:2]
)


@given(entries, st.randoms(use_true_random=False))
def test_runs_hold_every_entry_once_in_any_order(drawn: list[tuple[int, int, int, bool]], random: Any) -> None:
    rows = [(page << (12 + 9 * level), level, (page * flag + x) << (12 + 9 * level), level << 12)
            for page, level, x, flag in drawn]  # fmt: skip
    shuffled = random.sample(rows, len(rows))
    runs = sept_runs(*(zip(*rows, strict=True) if rows else ([],) * 4))
    assert runs == sept_runs(*(zip(*shuffled, strict=True) if rows else ([],) * 4))
    assert sorted(zip(*(c.tolist() for c in expand_sept(runs)), strict=True)) == sorted(rows)


def test_a_pamt_run_stops_at_a_gap_a_field_and_a_tdmr() -> None:
    pages = [0x1000, 0x2000, 0x4000, 0x5000, 0x6000]
    runs = pamt_runs(pages, [0] * 5, [3, 3, 3, 3, 5], [0x9000] * 5, [0] * 5, [0] * 5, [0, 0x5000])
    assert [(run.hpa, run.n, run.type) for run in runs] == [
        (0x1000, 2, 3),
        (0x4000, 1, 3),
        (0x5000, 1, 3),
        (0x6000, 1, 5),
    ]
    assert isinstance(runs[0], PamtRun)


def test_codes_name_what_they_say() -> None:
    for prefix, names in (("EV_", codes.EV_FIELDS), ("SET_", codes.SET_FIELDS)):
        assert [getattr(codes, prefix + name.upper()) for name in names] == list(range(len(names)))
    for kind in codes.LOCK_KINDS:
        assert codes.LOCK_KINDS[getattr(codes, f"LOCK_{kind.upper()}")] == kind
    assert sorted(value for name, value in vars(codes).items() if name.startswith("OP_")) == list(range(len(codes.OPS)))


Lines = list[bytes]


def _edit(op: str, change: Callable[[dict[str, Any]], object], holds: str = "") -> Callable[[Lines], Lines]:
    """Return an edit of the first record of ``op`` whose line has ``holds`` in it; header and final by name."""

    def edit(lines: Lines) -> Lines:
        where = {"header": 0, "final": len(lines) - 1}.get(op)
        if where is None:
            where = next(n for n, line in enumerate(lines) if f'"{op}"'.encode() in line and holds.encode() in line)
        document = json.loads(lines[where])
        change(document)
        return [*lines[:where], json.dumps(document).encode(), *lines[where + 1 :]]

    return edit


def _line(n: int, text: bytes) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:n], text, *lines[n + 1 :]]


ADD, ACCEPT, AUG = "TDH.MEM.SEPT.ADD", "TDG.MEM.PAGE.ACCEPT", "TDH.MEM.PAGE.AUG"
BAD_LINES: dict[str, tuple[Callable[[Lines], Lines], str, str]] = {
    "65 bits": (_edit(ADD, lambda d: d["in"].update(rcx="0x10000000000000000")), 'in.rcx "0x1000', "0xffffffffffff"),
    "negative": (_edit(ADD, lambda d: d["in"].update(rcx="-0x1")), 'in.rcx "-0x1"', "hex string"),
    "underscore": (_edit(ADD, lambda d: d["in"].update(rcx="0x1_0")), 'in.rcx "0x1_0"', "hex string"),
    "number for hex": (_edit(ADD, lambda d: d["in"].update(rcx=5)), "in.rcx 5", "hex string"),
    "hex for number": (_edit(ADD, lambda d: d.update(td="0x0")), 'td "0x0"', "accepted is int"),
    "bool for number": (_edit(ADD, lambda d: d.update(td=False)), "td false", "accepted is int"),
    "float for number": (_edit(ADD, lambda d: d.update(l=1.0)), "l 1.0", "accepted is int"),
    "register missing": (_edit(ADD, lambda d: d["in"].pop("rcx")), "in.rcx absent", "rcx, rdx, r8"),
    "register of another call": (_edit(AUG, lambda d: d["in"].update(r9="0x0")), 'in.r9 "0x0"', "rcx, rdx, r8"),
    "output missing": (_edit(ADD, lambda d: d["out"].pop("rax")), "out.rax absent", "rax, rcx, rdx"),
    "part of an exit": (_edit(ACCEPT, lambda d: d["out"].pop("rdx"), '"exit"'), "rdx absent", "or none"),
    "unknown key": (_edit(ADD, lambda d: d.update(colour=1)), "colour 1", "note, td, l, v"),
    "unknown op": (_edit(ADD, lambda d: d.update(op="TDH.MEM.WR")), 'op "TDH.MEM.WR"', "TDH.MEM.SEPT.ADD"),
    "no op": (_edit(ADD, lambda d: d.pop("op")), "op absent", "op"),
    "level": (_edit(ADD, lambda d: d.update(l=8)), "l 8", "<= 7"),
    "td unknown": (_edit(ADD, lambda d: d.update(td=2)), "td 2", "0 to 1"),
    "td negative": (_edit(ADD, lambda d: d.update(td=-1)), "td -1", ">= 0"),
    "lp unknown": (_edit(ADD, lambda d: d.update(lp=9)), "lp 9", "0 to 0"),
    "counts short": (_edit(ADD, lambda d: d["ev"].pop()), "ev [", "length >= 21"),
    "count negative": (_edit(ADD, lambda d: d["ev"].__setitem__(3, -1)), "ev[3] -1", ">= 0"),
    "entry": (_edit(ADD, lambda d: d.update(se=[9, "0x0"])), "se[0] 9", "<= 4"),
    "stubbed": (_edit(ADD, lambda d: d.update(stubbed=False)), "stubbed false", "accepted is true"),
    "lock kind": (_edit("LOCK", lambda d: d["in"].update(obj="seam")), 'in.obj "seam"', "pamt, tree, opstate"),
    "lock without kind": (_edit("LOCK", lambda d: d["in"].pop("obj")), "in.obj absent", "obj"),
    "lock key": (_edit("LOCK", lambda d: d["in"].update(mode="ex"), "septe"), 'in.mode "ex"', "td, gpa, level, side"),
    "lock side": (_edit("LOCK", lambda d: d["in"].update(side="x"), "septe"), 'in.side "x"', '"host" or "guest"'),
    "set field": (_edit("SET", lambda d: d["in"].update(field="x")), 'in.field "x"', "num_tdcx"),
    "success without epoch": (_edit("VCPU_ENTER", lambda d: d["out"].pop("epoch")), "epoch", "both with rax 0x0"),
    "index": (_edit(ADD, lambda d: d.update(i=7)), "i 7", "accepted is 0"),
    "record lost": (lambda lines: [lines[0], *lines[2:]], "i 1", "accepted is 0"),
    "no object": (_line(1, b"[1]"), "[1]", "object"),
    "cut line": (_line(1, b'{"i":0,"op":"TDH'), "TDH", "one whole JSON object"),
    "blank line": (_line(1, b""), "''", "one whole JSON object"),
    "bad value in a cut line": (_line(1, b'{"i":0,"op":"LOCK","in":{"obj":5}, "out'), "LOCK", "one whole JSON object"),
    "no UTF-8": (_line(1, b'{"i":0,"op":"\xff"}'), "\\xff", "UTF-8"),
    "final in the middle": (lambda lines: [*lines, lines[-1]], "op absent", "op"),
    "no final": (lambda lines: lines[:-1], "last line", "final state"),
    "header only": (lambda lines: lines[:1], "last line", "final state"),
    "no header": (lambda lines: lines[1:], "line 1", "accepted are type"),
    "format": (_edit("header", lambda d: d.update(format=2)), "format 2", "accepted is 1"),
    "fields of counts": (_edit("header", lambda d: d["ev_fields"].reverse()), "ev_fields", "'km', 'kx'"),
    "levels": (_edit("header", lambda d: d["tds"][0].update(levels=3)), "tds[0].levels 3", "4 or 5"),
    "key of a TDMR": (_edit("header", lambda d: d["platform"]["tdmr"][0].update(x=1)), "platform.tdmr[0].x 1", "base"),
    "base": (_edit("header", lambda d: d["platform"]["tdmr"][0].update(base="0x1000")), "base 0x1000", "1 GiB"),
    "root": (_edit("header", lambda d: d["tds"][0].update(sept_root="0x0")), "sept_root 0x0", "tdcx[3]"),
    "run": (_edit("final", lambda d: d["sept"][0]["runs"][0].append(1)), "sept[0].runs[0] [", "length 6"),
    "run's length": (_edit("final", lambda d: d["sept"][0].update(count=1)), "count 1", "its runs list"),
    "records in all": (_edit("final", lambda d: d.update(records=1)), "records 1", "number of records"),
    "TDs": (_edit("final", lambda d: d["tds"].pop()), "TDs [0, 1]", "each TD once"),
}  # fmt: skip


def _refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_vectors(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_refused_by_number_key_and_value(lines: Lines, tmp_path: Path, case: str) -> None:
    change, named, accepted = BAD_LINES[case]
    changed = change(list(lines))
    message = _refused(tmp_path / "bad.jsonl.gz", gzip.compress(b"\n".join(changed) + b"\n", 1))
    number = re.search(r": line (\d+): ", message)
    assert number
    first = next(
        (n for n, (a, b) in enumerate(zip(lines, changed, strict=False)) if a != b), min(len(lines), len(changed)) - 1
    )
    assert int(number[1]) == (len(changed) if "last line" in message else first + 1)
    assert named in message
    assert accepted in message.partition(named)[2] or accepted == named


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda raw: b"", "empty"),
        (lambda raw: gzip.compress(b""), "empty"),
        (lambda raw: gzip.decompress(raw), "not gzip"),
        (lambda raw: raw[:-100], "truncated"),
        (lambda raw: raw[:-8] + b"\0" * 8, "damaged"),
        (lambda raw: raw + b"tail", "damaged"),
        (lambda raw: raw[:2000] + b"\xff" * 50 + raw[2050:], "damaged"),
    ],
)
def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path, damage: Callable[[bytes], bytes], said: str) -> None:
    message = _refused(tmp_path / "bad.jsonl.gz", damage((folder / f"{SMALL}.jsonl.gz").read_bytes()))
    assert said in message
    assert "accepted is a gzip file of JSON lines" in message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gz", tmp_path):
        with pytest.raises(InputError, match="accepted is a gzip file"):
            load_vectors(path)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_escapes_as_another_error(lines: Lines, tmp_path_factory: Any, data: st.DataObject) -> None:
    """Whatever is cut out of or put into the lines, the file is read or refused by an InputError."""
    text = b"\n".join(lines[:40]) + b"\n" + lines[-1]
    at = data.draw(st.integers(0, len(text) - 1))
    cut = data.draw(st.integers(0, 30))
    put = data.draw(st.binary(max_size=8) | st.sampled_from([b'"', b"{", b"}", b"[]", b"null", b"-1", b"\n", b'"0x5"']))
    path = tmp_path_factory.getbasetemp() / "fuzzed.jsonl.gz"
    path.write_bytes(gzip.compress(text[:at] + put + text[at + cut :], 1))
    with pytest.raises(InputError) as caught:
        load_vectors(path)  # final's count of records is wrong even if nothing else is
    assert "\n" not in str(caught.value)


def test_a_final_state_may_be_built_by_hand() -> None:
    run = SeptRun(Word(0), 0, Word(0x80E0_0000_0000_0001), 2, Word(0x1000), Word(0x5000))
    assert FinalSept(0, 2, (run,)).runs[0].n == 2
    with pytest.raises(ValueError, match="accepted is the 2 entries"):
        FinalSept(0, 3, (run,))
