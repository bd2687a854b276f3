"""Does the engine do what its layout says? The same scripts in plain Python: every field the same, to the unit."""

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queues import Pair, situation, unstarted
from random_scripts import random_simulation

INSIDE = {"vcpus": 4, "vcpu_state": "inside"}
SITUATIONS: dict[str, dict[str, Any]] = {
    "4K": {"vcpus": 8},
    "4K, random": {"vcpus": 4, "order": "random"},
    "4K, striped": {"vcpus": 4, "order": "striped"},
    "4K, small folios": {"mix": "4K, small folios", "vcpus": 4, "backing": "order0"},
    "4K, who allocates clears": {"vcpus": 4, "options": {"clear": "folio"}},
    "2M": {"mix": "2M", "vcpus": 8},
    "2M, THP": {"mix": "2M", "vcpus": 4, "backing": "thp"},
    "both sizes": {"mix": "both", "vcpus": 5},
    "prefault": {"vcpus": 4, "guest": "prefault"},
    "prefault, 2M": {"mix": "2M", "vcpus": 4, "guest": "prefault"},
    "touch first": {"vcpus": 6, "guest": "touch-first"},
    "touch first, random": {"vcpus": 4, "guest": "touch-first", "order": "random"},
    "touch first, one instruction": {"vcpus": 4, "guest": "touch-first", "options": {"same_rip": True}},
    "touch first, 2M and splits": {"mix": "2M", "vcpus": 4, "guest": "touch-first"},
    "guest lock held": {"vcpus": 4, "options": {"guest_lock": "held"}},
    "Dynamic PAMT": {"vcpus": 6, "options": {"dynamic_pamt": "global-lock"}},
    "Dynamic PAMT, fast path": {"vcpus": 6, "options": {"dynamic_pamt": "fast-path"}},
    "two nodes, own": {"mix": "2M", "vcpus": 6, "nodes": 2},
    "two nodes, first": {"mix": "2M", "vcpus": 6, "nodes": 2, "placement": "first"},
    "two nodes, interleave": {"mix": "both", "vcpus": 6, "nodes": 2, "placement": "interleave"},
    "two nodes, 4K": {"vcpus": 6, "nodes": 2, "placement": "interleave"},
    "three TDs": {"vcpus": 2, "tds": 3, "options": {"dynamic_pamt": "global-lock"}},
    "halted": {"vcpus": 4, "vcpu_state": "halted"},
    "ticking": {"vcpus": 4, "vcpu_state": "ticking"},
    "inside": INSIDE,
    "convert 4K": INSIDE | {"workload": "convert"},
    "convert 2M": INSIDE | {"mix": "2M", "workload": "convert", "reset_pages": True},
    "convert while others populate": {"mix": "2M", "vcpus": 4, "workload": "convert"},
    "convert 4K while others populate": {"vcpus": 4, "workload": "convert"},
    "split": INSIDE | {"mix": "2M", "workload": "split"},
    "split while others tick": {"mix": "2M", "vcpus": 4, "vcpu_state": "ticking", "workload": "split"},
    "teardown": INSIDE | {"workload": "teardown"},
    "teardown, halted": {"mix": "2M", "vcpus": 4, "vcpu_state": "halted", "workload": "teardown"},
    "two TDs convert": {"mix": "2M", "vcpus": 3, "tds": 2, "workload": "convert"},
}  # fmt: skip


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations(name: str) -> None:
    d = situation(**SITUATIONS[name])
    pair = Pair.of(unstarted(d))
    for units in (1, 7, 40 if d.workload == "populate" else 12, 200 if d.workload == "populate" else 24):
        assert pair.run(units)


@given(
    st.integers(0, 1 << 32), st.integers(2, 6), st.sampled_from([1, 1, 2]), st.integers(1, 5),
    st.sampled_from(["none", "exponential"]),
)  # fmt: skip
@settings(deadline=None, max_examples=150)
def test_random_scripts(seed: int, threads: int, tds: int, blocks: int, spread: Any) -> None:
    pair = Pair.of(random_simulation(random.Random(seed), threads, tds, blocks, spread))
    for units in (2, 12, 100):
        if not pair.run(units):
            break
