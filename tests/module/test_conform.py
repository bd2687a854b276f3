"""Does the comparison with the vectors agree where all agrees, and notice whatever does not?"""

import gzip
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.replay_record import NONE, OPS
from perfmodel.__main__ import cli, main
from perfmodel.commands.conform import conform_command
from perfmodel.conform import ASPECTS, NOT_COVERED, ConformReport, Replay, conform_files, to_json
from perfmodel.errors import ModelError
from perfmodel.vectors import (
    Final,
    FinalPamt,
    FinalSept,
    Header,
    SeptRun,
    VectorFile,
    Word,
    load_vectors,
    pamt_runs,
    sept_runs,
)
from perfmodel.vectors.differences import final_differences
from perfmodel.vectors.final import expand_pamt, expand_sept

RECORDS = 124_709


@pytest.fixture(scope="module")
def path(shared: Path) -> Path:
    return shared / "vectors" / "cont_b.jsonl.gz"  # two TDs, locks left over, runs, several TDMRs


@pytest.fixture(scope="module")
def vectors(path: Path) -> VectorFile:
    return load_vectors(path)


def _conform(vectors: VectorFile, replay: Replay, differences: int = 5) -> ConformReport:
    with pytest.MonkeyPatch.context() as patch:  # the file is read once, not once an example
        patch.setattr("perfmodel.conform.load_vectors", lambda _: vectors)
        return conform_files([vectors.path], lambda _: replay, differences=differences)


def test_the_observed_outputs_agree_in_every_file(shared: Path) -> None:
    paths = sorted((shared / "vectors").glob("*.jsonl.gz"))
    told: list[tuple[int, int]] = []
    report = conform_files(paths, Replay.observed, progress=lambda done, total: told.append((done, total)))
    assert report.agrees
    assert (report.records, report.differing, report.final_differing) == (RECORDS, 0, 0)
    assert sum(row.agreement.records for row in report.calls) == RECORDS
    assert sum(file.stubbed for file in report.files) == 10_683
    assert (report.differences, report.not_in_files, report.not_covered) == ([], [], NOT_COVERED)
    assert {row.call for row in report.calls} == set(OPS)
    assert all(share.agree == share.compared for row in report.calls for share in _shares(row.agreement))
    assert told == [(n, len(paths)) for n in range(len(paths) + 1)]


def _shares(agreement: Any) -> list[Any]:
    return [getattr(agreement, aspect) for aspect in ASPECTS]


def _defined(vectors: VectorFile, name: str) -> Any:
    """Return where ``vectors`` defines output ``name``, as index arrays of one place each."""
    records = vectors.records
    if name == "regs_out":
        mask = (records.out_mask[:, None] >> np.arange(16)) & 1
        return np.argwhere(mask)
    column = getattr(records, name)
    if name == "ev":
        return np.argwhere(column >= 0)
    if name in ("se_level", "se_raw"):
        return np.argwhere(records.se_level != NONE)
    if name == "rc":
        return np.argwhere(records.out_mask & 1 == 0)
    return np.argwhere(np.ones(len(column)))


OUTPUTS = Replay._fields[:-1]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(OUTPUTS), st.data())
def test_any_change_of_one_output_of_one_record_is_noticed(vectors: VectorFile, name: str, data: st.DataObject) -> None:
    replay = Replay.observed(vectors)
    places = _defined(vectors, name)
    place = tuple(places[data.draw(st.integers(0, len(places) - 1))].tolist())
    column = getattr(replay, name)
    bits = 1 if column.dtype == np.bool_ else 8 * column.dtype.itemsize
    bit = data.draw(st.integers(0, bits - 1))
    flat = column.view(np.uint8) if bits == 1 else column.view(f"u{bits // 8}")
    flat[place] ^= flat.dtype.type(1 << bit)
    report = _conform(vectors, replay)
    assert (report.differing, report.final_differing) == (1, 0)
    [difference] = report.differences
    assert (difference.record, difference.call) == (place[0], OPS[vectors.records.op[place[0]]])
    assert len(difference.differs) == 1
    assert sum(row.agreement.records - row.agreement.agree for row in report.calls) == 1
    assert sum(share.compared - share.agree for row in report.calls for share in _shares(row.agreement)) == 1


def test_what_a_record_does_not_define_is_not_compared(vectors: VectorFile) -> None:
    replay = Replay.observed(vectors)
    for name in ("regs_out", "rc", "ev", "se_raw", "se_level"):
        column = getattr(replay, name)
        elsewhere = np.ones(column.shape, np.bool_)
        elsewhere[tuple(_defined(vectors, name).T)] = False
        assert elsewhere.any()
        column[elsewhere] = 7
    assert _conform(vectors, replay).agrees


def _sept(final: Final, td: int, columns: Sequence[Any]) -> Final:
    """Return ``final`` with the S-EPT entries of ``td`` replaced."""
    changed = FinalSept(td, len(columns[0]), sept_runs(*columns))
    return msgspec.structs.replace(final, sept=(*final.sept[:td], changed, *final.sept[td + 1 :]))


def _pamt(final: Final, columns: Sequence[Any], header: Header) -> Final:
    """Return ``final`` with all PAMT entries replaced."""
    runs = pamt_runs(*columns, [tdmr.base for tdmr in header.platform.tdmr])  # type: ignore[call-arg]
    return msgspec.structs.replace(final, pamt=FinalPamt(len(columns[0]), runs))


PAMT_BITS = {0: (12, 51), 1: (0, 1), 2: (0, 7), 3: (12, 51), 4: (0, 62), 5: (0, 15)}


@settings(max_examples=150, deadline=None)
@given(
    part=st.sampled_from(["td", "sept", "pamt", "records"]),
    how=st.sampled_from(["change", "drop", "twice"]),
    pick=st.tuples(*[st.integers(0, (1 << 30) - 1)] * 4),
)
def test_any_change_of_the_final_state_is_noticed(
    vectors: VectorFile, part: str, how: str, pick: tuple[int, int, int, int]
) -> None:
    final, header = vectors.final, vectors.header
    td = pick[0] % len(final.tds)
    if part == "records":
        changed = msgspec.structs.replace(final, records=final.records + 1)
    elif part == "td":
        fields = final.tds[td].__struct_fields__[1:]
        field = fields[pick[1] % len(fields)]
        value = getattr(final.tds[td], field)
        other = msgspec.structs.replace(
            final.tds[td], **{field: (*value[::-1], 1) if field == "refcount" else value + 1}
        )
        changed = msgspec.structs.replace(final, tds=(*final.tds[:td], other, *final.tds[td + 1 :]))
    else:
        columns = expand_sept(final.sept[td].runs) if part == "sept" else expand_pamt(final.pamt.runs)
        entry = pick[1] % len(columns[0])
        if how == "change":
            column = pick[2] % len(columns)
            low, high = (0, 1) if part == "sept" and column == 1 else (0, 63) if part == "sept" else PAMT_BITS[column]
            columns[column][entry] ^= np.uint64(1 << (low + pick[3] % (high - low + 1)))
        else:
            times = np.ones(len(columns[0]), np.int64)
            times[entry] = 0 if how == "drop" else 2
            columns = tuple(np.repeat(values, times) for values in columns)
        changed = _sept(final, td, columns) if part == "sept" else _pamt(final, columns, header)
    report = _conform(vectors, Replay.observed(vectors)._replace(final=changed))
    assert report.differing == 0
    assert report.final_differing >= 1
    assert report.files[0].final_shown[0].expected != report.files[0].final_shown[0].got
    assert not report.agrees


def test_the_way_a_replay_cuts_its_runs_does_not_matter(vectors: VectorFile) -> None:
    final = vectors.final
    single = tuple(
        SeptRun(Word(gpa), level, Word(raw), 1, Word(0), Word(table))
        for gpa, level, raw, table in zip(*(c.tolist() for c in expand_sept(final.sept[0].runs)), strict=True)
    )
    assert len(single) > len(final.sept[0].runs)
    other = msgspec.structs.replace(final, sept=(FinalSept(0, len(single), single), *final.sept[1:]))
    assert list(final_differences(final, other)) == []


def test_a_lost_td_is_noticed(vectors: VectorFile) -> None:
    final = vectors.final
    other = msgspec.structs.replace(final, tds=final.tds[:1], sept=final.sept[:1])
    assert [d.place for d in final_differences(final, other)] == ["TDs", "TDs with an S-EPT"]


def test_a_difference_is_reported_in_full(shared: Path) -> None:
    vectors = load_vectors(shared / "vectors" / "dir_misc_a.jsonl.gz")
    i = next(i for i, note in enumerate(vectors.notes) if note == "L2 attributes on non-debug TD")
    replay = Replay.observed(vectors)
    replay.regs_out[i, 0] ^= np.uint64(1)
    replay.ev[i, 3] += 2
    report = _conform(vectors, replay)
    [difference] = report.differences
    assert (difference.record, difference.call) == (i, "TDH.MEM.SEPT.RD")
    assert difference.note == "L2 attributes on non-debug TD"
    assert difference.differs == ["rax", "ev.lk"]
    assert difference.input == {"td": 0, "lp": 0, "level": 0, "version": 0, "rcx": "0x100000000", "rdx": "0x1d13a7001"}
    assert (difference.expected["rax"], difference.got["rax"]) == ("0xc000010000000002", "0xc000010000000003")
    assert (difference.expected["ev.lk"], difference.got["ev.lk"]) == (8, 10)
    document = json.loads(to_json(report))
    assert document["schema"] == "perfmodel/conform/1"
    assert document["differences"][0]["note"] == "L2 attributes on non-debug TD"
    row = next(row for row in document["calls"] if row["agreement"]["agree"] < row["agreement"]["records"])
    assert (row["call"], row["status"]) == ("TDH.MEM.SEPT.RD", "OPERAND_INVALID")
    assert row["agreement"]["status"]["compared"] - row["agreement"]["status"]["agree"] == 1


def _number(value: str | int) -> str | int:
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else value


@pytest.mark.parametrize("op", ["LOCK", "SET", "POKE", "VCPU_ENTER", "TDG.MEM.PAGE.ACCEPT"])
def test_every_kind_of_input_can_be_reported(shared: Path, op: str) -> None:
    vectors = load_vectors(shared / "vectors" / "dir_misc_a.jsonl.gz")
    replay = Replay.observed(vectors)
    chosen = np.flatnonzero(vectors.records.op == OPS.index(op))
    replay.epoch[chosen] += 1
    report = _conform(vectors, replay, differences=len(chosen))
    lines = gzip.decompress(vectors.path.read_bytes()).splitlines()
    for difference in report.differences:
        written = json.loads(lines[difference.record + 1])["in"].values()
        shown = {_number(value) for value in difference.input.values()}
        assert {_number(value) for value in written} <= shown


def test_only_the_first_differences_are_kept(vectors: VectorFile) -> None:
    replay = Replay.observed(vectors)
    replay.epoch[:] = 5
    report = _conform(vectors, replay, differences=3)
    assert len(report.differences) == 3
    assert report.differing > 3


@pytest.mark.parametrize("wrong", [lambda a: a[:-1], lambda a: a.astype(np.float64)])
def test_arrays_of_another_shape_or_type_are_the_models_fault(vectors: VectorFile, wrong: Callable[..., Any]) -> None:
    replay = Replay.observed(vectors)
    with pytest.raises(ModelError, match="the replay's ev is"):
        _conform(vectors, replay._replace(ev=wrong(replay.ev)))


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return a function that runs ``perfmodel conform`` with a replay of its own and returns the exit status."""

    def run(replay: Callable[[VectorFile], Replay], *words: str) -> int:
        module = ModuleType("perfmodel.replay")
        module.replay_vectors = replay  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "perfmodel.replay", module)
        monkeypatch.setitem(cli.commands, "conform", conform_command)
        with pytest.raises(SystemExit) as stopped:
            main(["conform", *words])
        assert isinstance(stopped.value.code, int)
        return stopped.value.code

    return run


def test_command_agrees(command: Callable[..., int], path: Path, tmp_path: Path, capsys: Any) -> None:
    target = tmp_path / "conform.json"
    assert command(Replay.observed, str(path), "--json", str(target)) == 0
    out = capsys.readouterr().out
    assert "TDH.MEM.PAGE.AUG" in out
    assert "0 records and 0 final states differ" in out
    assert "not covered by any vectors: TDH.PHYMEM.PAMT.ADD, TDH.PHYMEM.PAMT.REMOVE" in out
    assert json.loads(target.read_bytes())["files"][0]["agree"] == 4507


def _faulty(vectors: VectorFile) -> Replay:
    replay = Replay.observed(vectors)
    replay.regs_out[:8, 0] ^= np.uint64(1)
    tds = tuple(msgspec.structs.replace(td, chldcnt=0, td_epoch=0) for td in vectors.final.tds)
    return replay._replace(final=msgspec.structs.replace(vectors.final, tds=tds))


def test_command_differs(command: Callable[..., int], path: Path, capsys: Any) -> None:
    assert command(_faulty, str(path), "--differences", "2") == 1
    out = capsys.readouterr().out
    assert out.count("differs in rax\n") == 2
    assert "6 more records differ" in out
    assert "final state: TD 0 chldcnt: expected" in out
    assert "2 more places differ" in out
    assert "8 records and 1 final states differ" in out


def test_command_prints_json_alone(command: Callable[..., int], path: Path, capsys: Any) -> None:
    assert command(_faulty, str(path), "--json", "-") == 1
    assert json.loads(capsys.readouterr().out)["files"][0]["final"] == 4


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["/nowhere/x.gz"], "/nowhere/x.gz"),
        (["--differences", "-1", "x"], "differences -1: accepted is"),
        (["--json", "/nowhere/x.json", "x"], "'/nowhere'"),
        ([], "FILE"),
    ],
)
def test_command_with_bad_input(command: Callable[..., int], words: list[str], named: str, capsys: Any) -> None:
    assert command(Replay.observed, *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert named in captured.err
