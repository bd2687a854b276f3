"""Are the public observations all there as published, and is a bad file refused with row, column and value?"""

import csv
from pathlib import Path
from typing import Any

import pytest

from perfmodel.calibration.observations import (
    COLUMNS,
    OPERATIONS,
    UNITS,
    built_in,
    gather,
    load_observations,
    parse_observations,
)
from perfmodel.calibration.questions import RATIO_OF, questions
from perfmodel.errors import InputError

GOOD = {
    "id": "X1", "operation": "populate", "memory": "1GiB", "quantity": "time-per-page", "value": "9.5", "unit": "us",
}  # fmt: skip


def text(*rows: dict[str, str], header: tuple[str, ...] = COLUMNS) -> str:
    lines = [",".join(header)]
    lines += [",".join(row.get(column, "") for column in header) for row in rows]
    return "\n".join(lines) + "\n"


def test_every_published_row_is_there_as_published(shared: Path) -> None:
    with (shared / "observations.csv").open(newline="", encoding="utf-8") as file:
        published = {row["id"]: row for row in csv.DictReader(file)}
    ours = {one.id: one for one in built_in()}
    assert ours.keys() == published.keys()
    for key, one in ours.items():
        assert (one.source, one.url, one.date) == tuple(published[key][c] for c in ("source", "url", "date")), key
        if one.operation:
            assert one.unit == published[key]["unit"], key
            assert one.value == float(published[key]["value"]), key
            if one.operation.startswith("pamt"):
                continue
            if size := published[key]["memory_gib"]:
                if key not in ("M012", "M147", "M148", "M149", "M150"):  # sizes there are of the host or per line
                    assert one.memory_bytes == pytest.approx(float(size) * 2**30, rel=2e-4), key
            if vcpus := published[key]["vcpus"]:
                assert one.vcpus == int(vcpus), key


@pytest.mark.parametrize(
    ("role", "ids"),
    [
        ("fit", "M001 M006 M007 M010 M012 M013 M015 M017 M026 M028 M056 M078 M079 M080 M081 M085 M087"),
        ("report", "M002 M004 M005 M016 M018 M024 M089 M090 M091 M093 M094 M095"),
        ("input", "M003 M105 M106"),
        ("prior", "M147 M148 M149 M150"),
        ("outside", "M021 M023 A001"),
        ("never", "M155 M156 M157"),
        ("not-expressed", "M065 A002"),
    ],
)
def test_roles_are_those_agreed_on(role: str, ids: str) -> None:
    assert {one.id for one in built_in() if one.role == role} == set(ids.split())


def test_repeats_and_derived_rows_are_in_their_parents_fold() -> None:
    folds = {one.id: one.fold for one in built_in()}
    parents = {"M002": "M001", "M004": "M001", "M005": "M001", "M016": "M015", "M018": "M017", "M023": "M021",
               "M089": "M090", "M093": "M094", "M026": "M024", "M028": "M024"}  # fmt: skip
    assert {child: folds[child] for child in parents} == parents


def test_every_row_says_why_it_is_not_scored() -> None:
    assert all(one.note for one in built_in() if one.role != "fit")
    assert all(one.source for one in built_in())


def test_rows_left_blank_take_the_defaults() -> None:
    (one,) = parse_observations(text(GOOD), "mine.csv")
    assert (one.role, one.fold, one.host, one.page_size, one.vcpus, one.inside) == ("fit", "X1", "X1", "4K", 1, 0)
    assert (one.in_base_unit(one.value), one.in_own_unit(9500.0)) == (9500.0, 9.5)
    (short,) = parse_observations(text(GOOD, header=tuple(GOOD)), "mine.csv")
    assert short == one


def test_cycles_are_those_of_the_tsc() -> None:
    (one,) = parse_observations(text(GOOD | {"unit": "cycles", "value": "2800", "tsc_ghz": "2.8"}), "mine.csv")
    assert one.in_base_unit(one.value) == pytest.approx(1000.0)
    assert one.in_own_unit(1000.0) == pytest.approx(2800.0)


BAD: list[tuple[dict[str, str], str, str]] = [
    ({"quantity": "furlongs"}, "column 'quantity', value 'furlongs'", "time-per-page"),
    ({"unit": "parsecs"}, "column 'unit', value 'parsecs'", "ns, us, ms, s, cycles"),
    ({"unit": "GB/s"}, "column 'unit', value 'GB/s'", "ns, us"),
    ({"operation": "reboot"}, "column 'operation', value 'reboot'", "populate"),
    ({"operation": ""}, "column 'operation', value ''", "populate"),
    ({"value": "0"}, "column 'value', value '0'", "1e-12"),
    ({"value": "-3"}, "column 'value', value '-3'", "1e-12"),
    ({"value": "nan"}, "column 'value', value 'nan'", "number"),
    ({"value": "fast"}, "column 'value', value 'fast'", "number"),
    ({"value": ""}, "column 'value', value ''", "number"),
    ({"id": ""}, "column 'id'", "name"),
    ({"role": "maybe"}, "column 'role', value 'maybe'", "fit, held-out"),
    ({"page_size": "1G"}, "column 'page_size', value '1G'", "4K, 2M"),
    ({"memory": "lots"}, "column 'memory', value 'lots'", "2GiB"),
    ({"memory": "100T"}, "column 'memory', value '100T'", "64TiB"),
    ({"vcpus": "0"}, "column 'vcpus', value '0'", "1 to 1024"),
    ({"vcpus": "2.5"}, "column 'vcpus', value '2.5'", "whole number"),
    ({"vcpus": "4", "inside": "4"}, "column 'inside', value '4'", "0 to 3"),
    ({"request_pages": "513"}, "column 'request_pages', value '513'", "1 to 512"),
    ({"covers": "everything"}, "column 'covers', value 'everything'", "all, host, exit"),
    ({"covers": "exit", "leaves_out": "exit"}, "column 'leaves_out', value 'exit'", "covers"),
    ({"knobs": "turbo=on"}, "column 'knobs', value 'turbo=on'", "host_clear=false|true"),
    ({"knobs": "flush=maybe"}, "column 'knobs', value 'flush=maybe'", "every-page"),
    ({"knobs": "flush=none flush=none"}, "column 'knobs', value 'flush=none'", "once"),
    ({"core_ghz": "3000"}, "column 'core_ghz', value '3000'", "0.1 to 10"),
    ({"unit": "cycles"}, "column 'tsc_ghz', value ''", "0.1 to 10"),
    ({"error": "-1"}, "column 'error', value '-1'", "0 to 2"),
    ({"minus": "X0"}, "column 'minus', value 'X0'", "row above"),
]


@pytest.mark.parametrize(("change", "named", "accepted"), BAD, ids=[named for _, named, _ in BAD])
def test_a_bad_cell_is_named(change: dict[str, str], named: str, accepted: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_observations(text({"id": "ok"} | {k: v for k, v in GOOD.items() if k != "id"}, GOOD | change), "mine.csv")
    message = str(raised.value)
    assert message.startswith("mine.csv: row 3, ")
    assert named in message
    assert accepted in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (text(GOOD, GOOD), "row 3, column 'id', value 'X1': accepted is each id once, and row 2 has it"),
        (text(GOOD | {"host": "a", "core_ghz": "2"}, GOOD | {"id": "X2", "host": "a", "core_ghz": "3"}), "core_ghz"),
        (text(GOOD, GOOD | {"id": "X2", "value": "3", "minus": "X1"}), "smaller value"),
        (text(), "no row"),
        (text(GOOD).replace("operation", "what"), "column 'what'"),
        (text(GOOD, header=tuple(c for c in COLUMNS if c != "unit")), "'unit' is missing"),
        (text(GOOD) + "a,b\n", "row 3"),
        (text(GOOD) + '"open\n', "row"),
        ("", "'id' is missing"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(content: str, named: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_observations(content, "mine.csv")
    assert named in str(raised.value)
    assert "\n" not in str(raised.value)


def test_zero_is_accepted_where_nothing_is_scored() -> None:
    (one,) = parse_observations(text(GOOD | {"value": "0", "role": "report"}), "mine.csv")
    assert one.by_difference


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        load_observations(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        load_observations(tmp_path / "binary.csv")


def test_gathering_keeps_ids_apart(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text(GOOD))
    (tmp_path / "b.csv").write_text(text(GOOD | {"id": "M001"}))
    assert gather([tmp_path / "a.csv"], only=True)[0].id == "X1"
    assert len(gather([tmp_path / "a.csv"], only=False)) == len(built_in()) + 1
    with pytest.raises(InputError, match="'M001'"):
        gather([tmp_path / "b.csv"], only=False)
    with pytest.raises(InputError, match="only"):
        gather([], only=True)


def test_every_operation_and_quantity_is_in_the_docs() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text()
    words: list[Any] = [*OPERATIONS, *UNITS, *COLUMNS]
    assert [word for word in words if f"`{word}`" not in docs] == []


def test_questions_ask_for_what_the_ratio_needs() -> None:
    ids = [one.id for one in questions() if one.role == "both"]
    assert set(RATIO_OF) <= set(ids)
    assert all(one.note for one in questions())


def test_the_example_in_the_docs_is_a_file_of_observations() -> None:
    docs = (Path(__file__).resolve().parents[2] / "docs" / "costs.md").read_text()
    block = docs[docs.index("    id,host,operation") :].split("\n\n")[0]
    rows = parse_observations("\n".join(line.strip() for line in block.splitlines()), "docs/costs.md")
    assert [one.id for one in rows] == ["my-aug", "my-boot"]
    assert "seamcall" in rows[0].stages
    assert "exit" not in rows[0].stages
