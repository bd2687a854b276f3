"""Do kernels stay integer, small, and free of allocation?

Types are those that Numba infers for every variable of every kernel, for the arrays that ``Tables`` holds: one
mix of int64 and uint64 would turn an S-EPT entry into a float64 and lose its low bits.
"""

import ast
import functools
import importlib
from pathlib import Path
from typing import Any

import bridge
import numpy as np
import pytest
from numba import types
from numba.core import compiler, typed_passes
from numba.core.registry import cpu_target
from queues import situation

import kernels
from kernels import sept_entry, transitions
from kernels.batch import accept_region, augment_region, augment_region_2m
from kernels.build import add_region, tdh_mem_page_add
from kernels.convert import convert_region, punch_hole
from kernels.counters import ALL_COUNTERS, COUNTERS
from kernels.demote import demote_region, tdh_mem_page_demote
from kernels.fault import LINES
from kernels.first_pages import build_region, note_populated
from kernels.life_guest import accept_pages, touch_pages
from kernels.life_state import PFN, Knobs, start_life
from kernels.pamt import lookup_many
from kernels.pamt_entry import make_entry, owner_pfn
from kernels.private_fault import prefault_range
from kernels.promote import tdh_mem_page_promote
from kernels.queueing.engine import FINISHED, advance
from kernels.seamcall import tdg_mem_page_accept, tdh_mem_page_aug, tdh_mem_sept_add
from kernels.shrink import block_region, remove_region, tdh_mem_page_remove, tdh_mem_range_block
from kernels.teardown import teardown_region
from kernels.touch import BATCH, touch_many
from kernels.walk import walk_many
from perfmodel import Scenario, compare
from perfmodel.scaling.network import build as build_simulation

FOLDER = Path(kernels.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
MAX_LINES = 60
DECORATORS = ("njit", "step")  # of kernels.jit
ALLOCATING = {"zeros", "empty", "full", "ones", "arange", "array", "copy", "zeros_like", "empty_like", "full_like",
              "ones_like", "concatenate", "append", "where", "flatnonzero", "unique", "sort"}  # fmt: skip


def decorated(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions with a decorator that compiles."""
    names = {"njit", "step", "jit", "vectorize", "guvectorize", "generated_jit", "cfunc", "stencil"}

    def compiles(node: ast.expr) -> bool:
        target = node.func if isinstance(node, ast.Call) else node
        return (target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")) in names

    return [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and any(map(compiles, n.decorator_list))]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def module_of(path: Path) -> str:
    """Return the module's name below ``kernels``."""
    return ".".join(path.relative_to(FOLDER).with_suffix("").parts)


KERNELS = [(module_of(path), node.name) for path in FILES for node in decorated(parsed(path))]
FUNCTIONS = [pytest.param(path, node, id=f"{module_of(path)}.{node.name}") for path in FILES
             for node in decorated(parsed(path))]  # fmt: skip


def test_there_are_kernels() -> None:
    assert {"walk", "pamt", "seamcall", "fault", "populate", "ranges", "census"} <= {module for module, _ in KERNELS}


@pytest.mark.parametrize(("path", "node"), FUNCTIONS)
def test_the_one_decorator(path: Path, node: ast.FunctionDef) -> None:
    (decorator,) = (ast.unparse(d) for d in node.decorator_list)
    assert decorator in DECORATORS
    imports = [n for n in ast.walk(parsed(path)) if isinstance(n, ast.ImportFrom)]
    assert {n.module for n in imports if any(a.name == decorator for a in n.names)} == {"kernels.jit"}


@pytest.mark.parametrize("path", [p for p in FILES if p.name not in ("jit.py", "prefetch.py")], ids=module_of)
def test_numba_is_imported_in_two_places(path: Path) -> None:
    """Where kernels are compiled, and where an instruction that Python cannot spell is made for them."""
    for node in ast.walk(parsed(path)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not any(name.split(".")[0] == "numba" for name in names)


@pytest.mark.parametrize(("path", "node"), FUNCTIONS)
def test_no_kernel_is_long(path: Path, node: ast.FunctionDef) -> None:
    assert node.end_lineno is not None
    assert node.end_lineno - node.lineno + 1 <= MAX_LINES


@pytest.mark.parametrize(("path", "node"), FUNCTIONS)
def test_no_kernel_allocates(path: Path, node: ast.FunctionDef) -> None:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call):
            target = inner.func
            name = target.attr if isinstance(target, ast.Attribute) else getattr(target, "id", "")
            assert name not in ALLOCATING, f"line {inner.lineno}: {name}()"
        assert not isinstance(
            inner, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp
        ), f"line {inner.lineno}"


TYPED_MODULES = {"batch", "build", "bulk", "cache", "cache_calls", "cache_populate", "census", "convert", "demote",
                 "fault", "first_pages", "life_guest", "lru", "pamt", "pamt_entry", "pamt_references", "populate",
                 "private_fault", "promote", "ranges", "runs", "seamcall", "sept_entry", "shrink", "tables",
                 "teardown", "touch", "transitions", "walk", "zap",
                 *(f"queueing.{name}" for name in ("engine", "events", "lines", "locks", "memory", "streams",
                                                   "tracking", "untimed"))}  # fmt: skip
"""Whose kernels ``run_entry_points`` reaches; the rules of source above hold for all."""

PACES = {("queueing.untimed", "latency_bin")}
"""A logarithm: a float between integers."""

TYPED = [(module, name) for module, name in KERNELS if module in TYPED_MODULES]
I64, U64 = types.int64, types.uint64


def dispatcher(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"kernels.{module}"), name)


def infer(module: str, name: str, signature: tuple[Any, ...]) -> tuple[dict[str, Any], Any]:
    """Return the types that Numba infers for the variables and the result of a kernel; compiles what it calls."""
    ir = compiler.run_frontend(dispatcher(module, name).py_func)
    cpu_target.typing_context.refresh()
    typemap, result, *_ = typed_passes.type_inference_stage(
        cpu_target.typing_context, cpu_target.target_context, ir, signature, None
    )
    return typemap, result


def run_entry_points() -> None:
    """Call every kernel that ``perfmodel`` calls, with the arrays that it passes."""
    compare(Scenario(memory="6MiB"))
    for guest in ("linux-lazy", "prefault", "touch-first"):
        compare(Scenario(memory="6MiB", guest=guest, memory_model="simulated"))
    held = bridge.make_tables()
    tables, one = held.tables, np.zeros(1, np.int64)
    index = np.zeros(512, np.int32)
    walk_many(tables, one, 0, np.zeros(1, np.int8), np.zeros(1, np.uint64), np.zeros(1, np.uint8), index)
    lookup_many(tables, one, np.zeros(1, np.int8), np.zeros((1, 2), np.uint64), index)
    touch_many(tables, one[:0], one[:0], 0, index, index, np.zeros((2, BATCH), np.uint64), one, one)
    tdh_mem_sept_add(tables, 0, 3, 100)
    tdh_mem_page_aug(tables, 0, 0, 1 << 20)
    tdg_mem_page_accept(tables, 0, 0)
    owner_pfn(make_entry(3, 5))
    counts, lines, every = np.zeros(ALL_COUNTERS, np.int64), np.zeros(LINES, np.int64), np.empty(0, np.uint8)
    add_region(tables, 0, np.zeros(1 << 18, np.int64), np.zeros(1 << 18, np.uint8), lines, counts)
    tdh_mem_page_add(tables, 0, 1 << 20)
    augment_region(tables, 0, np.zeros(1 << 18, np.int64), every, lines, counts)
    augment_region_2m(tables, 0, np.zeros(512, np.int64), lines, counts)
    accept_region(tables, 0, every, counts)
    block_region(tables, 0, every, 1, lines, counts)
    demote_region(tables, 0, every, 3, False, counts)
    remove_region(tables, 0, every, 3, False, lines, counts)
    tdh_mem_range_block(tables, 0, 0, 1)
    tdh_mem_page_demote(tables, 0, 1, 100, 3, False)
    tdh_mem_page_remove(tables, 0, 0, 3, False)
    tdh_mem_page_promote(tables, 0, 1, 3, False)
    run_a_life()
    assert advance(build_simulation(situation(vcpus=2)), 1) == FINISHED
    for entry in (sept_entry.BLOCKED, sept_entry.NL_BLOCKED):  # what only the exact calls do
        transitions.relocated(transitions.unblocked(entry), 7)
        transitions.accepted_up_to(entry, 3)


def run_a_life() -> None:
    """Call the kernels of a TD's life on a region without memory."""
    pages, ranges = np.zeros(1 << 18, np.int64), np.zeros(512, np.int64)
    use, few = pages.astype(np.uint8), pages[:0]
    life = start_life(bridge.make_tables().tables, 0, pages, use, ranges.astype(np.bool_), ranges, Knobs(PFN))
    build_region(life, use, True)
    note_populated(life, 0, False)
    prefault_range(life, 0, 1)
    accept_pages(life, few)
    touch_pages(life, few)
    convert_region(life, np.zeros((0, 3), np.int64))
    punch_hole(life, 0, 1)
    teardown_region(life, True)


@functools.cache
def inferred() -> dict[tuple[str, str, tuple[Any, ...]], tuple[dict[str, Any], Any]]:
    """Infer the types of every kernel for every signature in use: callers first, then what they call."""
    run_entry_points()
    done: dict[tuple[str, str, tuple[Any, ...]], tuple[dict[str, Any], Any]] = {}
    while True:
        todo = [(m, n, s) for m, n in TYPED for s in dispatcher(m, n).signatures if (m, n, s) not in done]
        if not todo:
            return done
        for key in todo:
            done[key] = infer(*key)


def is_float(kind: Any) -> bool:
    if isinstance(kind, types.BaseTuple):
        return any(map(is_float, kind))
    if isinstance(kind, types.Array):
        return is_float(kind.dtype)
    return isinstance(kind, types.Float | types.Complex)


def test_every_kernel_is_reached() -> None:
    unreached = set(TYPED) - {(m, n) for m, n, _ in inferred()}
    assert unreached == set(), "call them, or a caller of theirs, in run_entry_points()"


@pytest.mark.parametrize(("module", "name"), TYPED)
def test_no_variable_is_a_float(module: str, name: str) -> None:
    for (m, n, signature), (typemap, result) in inferred().items():
        if (m, n) == (module, name):
            assert not any(map(is_float, (*signature, result))), signature
            if (module, name) in PACES:
                assert any(map(is_float, typemap.values())), "a pace no more"
                continue
            assert {variable: str(kind) for variable, kind in typemap.items() if is_float(kind)} == {}


@pytest.mark.parametrize(("module", "name"), TYPED)
def test_arguments_are_integers_and_arrays(module: str, name: str) -> None:
    for m, n, signature in inferred():
        if (m, n) == (module, name):
            for kind in signature:
                assert isinstance(kind, types.Integer | types.Boolean | types.Array | types.BaseNamedTuple), kind
                assert not isinstance(kind, types.Array) or kind.layout == "C", kind


STATUS_CALLS = ["aug_at", "sept_add_at", "accept_at", "tdh_mem_page_aug", "tdh_mem_sept_add", "tdg_mem_page_accept"]


@pytest.mark.parametrize(
    ("module", "name", "expected"),
    [
        ("sept_entry", "make_entry", U64), ("sept_entry", "entry_pfn", I64), ("sept_entry", "state_code", types.uint8),
        ("pamt_entry", "make_entry", U64), ("pamt_entry", "page_type", I64), ("pamt_entry", "owner_pfn", I64),
        ("walk", "walk", types.Tuple((I64, I64, I64, U64))), ("pamt", "lookup", types.Tuple((I64, U64, U64))),
        ("pamt", "find_slot", I64), ("fault", "fault", I64),
        ("fault", "add_missing_tables", I64), ("populate", "populate_region", I64),
        *[("seamcall", name, I64) for name in STATUS_CALLS],
    ],
)  # fmt: skip
def test_results(module: str, name: str, expected: Any) -> None:
    results = [result for (m, n, _), (_, result) in inferred().items() if (m, n) == (module, name)]
    assert results
    for result in results:
        if isinstance(expected, types.BaseTuple):
            assert tuple(result) == tuple(expected)
        else:
            assert result == expected


def test_tables_hold_what_kernels_expect() -> None:
    tables = bridge.make_tables().tables
    for name in ("sept", "pamt_1g", "pamt_2m", "pamt_4k"):
        assert getattr(tables, name).dtype == np.uint64
        assert getattr(tables, name).flags.c_contiguous
    assert (tables.slot.dtype, tables.td.dtype) == (np.int32, np.int64)
    assert type(tables.sept_pfn) is int
    assert (COUNTERS, LINES) == (17, 2)
