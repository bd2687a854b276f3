"""Do raw entries, state codes and PAMT words look as the module's tables say?"""

import numpy as np
import pytest
import twin_words as tw
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import entry_states, pamt_entry, sept_entry, status

PFNS = st.integers(0, (1 << 40) - 1)

# tdx-module.md 2.2: raw examples, HPA left out; the last two of a 4K leaf in states of a live export
RAW = {
    "FREE": 0x80E0_0000_0000_0000,
    "REMOVED": 0x80C0_0000_0000_0000,
    "NL_MAPPED": 0x8000_0000_0000_0007,
    "NL_BLOCKED": 0x8080_0000_0000_0000,
    "MAPPED": 0x8000_0000_0000_00F7,
    "BLOCKED": 0x8080_0000_0000_00F0,
    "PENDING": 0x8100_0000_0000_00F0,
    "PENDING_BLOCKED": 0x8180_0000_0000_00F0,
    "EXP_DIRTY": 0x8020_0000_0000_02F7,
    "PEND_EXP_DIRTY": 0x8120_0000_0000_02F0,
    "EXP_DIRTY_BLOCKEDW": 0x8060_0000_0000_02F5,
    "PEND_EXP_DIRTY_BLOCKEDW": 0x8160_0000_0000_02F0,
}


@pytest.mark.parametrize("name", ["FREE", "REMOVED", "NL_MAPPED", "MAPPED", "PENDING"])
def test_raw_constants(name: str) -> None:
    assert int(getattr(sept_entry, name)) == RAW[name]


@pytest.mark.parametrize("name", RAW)
def test_state_code_of_raw_examples(name: str) -> None:
    for noise in (0, 0x1_2345_6000, 1 << 11, 1 << 52, tw.HPA):
        raw = RAW[name] | noise
        assert sept_entry.state_code(np.uint64(raw)) == tw.STATE_CODES[name]
        assert tw.state_code(raw) == tw.STATE_CODES[name]


@settings(deadline=None)
@given(raw=st.integers(0, (1 << 64) - 1))
def test_state_code_of_any_entry(raw: int) -> None:
    code = sept_entry.state_code(np.uint64(raw))
    assert int(code) == tw.state_code(raw) < 128


@settings(deadline=None)
@given(raw=st.integers(0, (1 << 64) - 1))
def test_state_mask_holds_the_bits_of_the_state_code(raw: int) -> None:
    masked = raw & int(sept_entry.STATE_MASK)
    assert tw.state_code(masked) == tw.state_code(raw)
    assert (masked == 0) == (tw.state_code(raw) == 0)


def test_masked_states() -> None:
    for name in ("FREE", "REMOVED", "PENDING", "PEND_EXP_DIRTY"):
        assert tw.state_code(int(getattr(sept_entry, f"STATE_{name}"))) == tw.STATE_CODES[name]


def test_bits() -> None:
    bits = {"LOCK": 11, "HOST_PRIORITY": 52, "LEAF": 7, "IPAT": 6, "DIRTY": 9, "TDEX": 53, "TDBW": 54, "TDB": 55,
            "TDP": 56, "SUPPRESS_VE": 63}  # fmt: skip
    assert {name: int(getattr(sept_entry, name)) for name in bits} == {n: 1 << b for n, b in bits.items()}
    assert int(sept_entry.RWX) == 7
    assert int(sept_entry.WRITE_BACK) >> 3 == 6
    assert int(sept_entry.HPA_MASK) == sum(1 << b for b in range(12, 52))
    assert int(sept_entry.ACCEPT_COUNTER) == sum(1 << b for b in range(12, 21))


@settings(deadline=None)
@given(pfn=PFNS, name=st.sampled_from(["NL_MAPPED", "MAPPED", "PENDING"]))
def test_entry_round_trip(pfn: int, name: str) -> None:
    entry = sept_entry.make_entry(getattr(sept_entry, name), pfn)
    assert int(entry) == RAW[name] | pfn << 12
    assert sept_entry.entry_pfn(np.uint64(entry)) == pfn
    assert sept_entry.entry_pfn(np.uint64(int(entry) | 1 << 52 | 1 << 11)) == pfn


@settings(deadline=None)
@given(page_type=st.integers(0, 255), owner=PFNS, lock=st.integers(0, 0xFFFF))
def test_pamt_word_is_the_entry_in_memory(page_type: int, owner: int, lock: int) -> None:
    word = pamt_entry.make_entry(page_type, owner)
    assert (int(word), 0) == tw.PamtEntry(0, page_type, owner).words
    locked = np.uint64(int(word) | lock)
    assert pamt_entry.page_type(locked) == page_type
    assert pamt_entry.owner_pfn(locked) == owner
    assert int(locked) & int(pamt_entry.LOCK_MASK) == lock


def test_pamt_constants() -> None:
    for name in ("NDA", "RSVD", "REG", "TDR", "TDCX", "TDVPR", "EPT"):
        assert getattr(pamt_entry, f"PT_{name}") == getattr(tw, name)
    locks = (pamt_entry.LOCK_EXCLUSIVE, pamt_entry.LOCK_HOST_PRIORITY, pamt_entry.LOCK_READER)
    assert tuple(map(int, locks)) == (1, 2, 4)  # 15:2 count the readers
    assert (pamt_entry.ENTRIES_4K_PER_BLOCK, pamt_entry.ENTRIES_2M_PER_BLOCK) == (262144, 512)


def test_statuses() -> None:
    values = {"SUCCESS": tw.SUCCESS, "OPERAND_INVALID": tw.OPERAND_INVALID, "EPT_VIOLATION_EXIT": tw.EXIT,
              "OPERAND_ADDR_RANGE_ERROR": tw.ADDR_RANGE_ERROR, "OPERAND_BUSY": tw.OPERAND_BUSY,
              "OPERAND_BUSY_HOST_PRIORITY": tw.HOST_PRIORITY_BUSY, "EPT_WALK_FAILED": tw.EPT_WALK_FAILED,
              "PAGE_METADATA_INCORRECT": tw.PAGE_METADATA_INCORRECT,
              "PAGE_ALREADY_ACCEPTED": tw.PAGE_ALREADY_ACCEPTED, "PAGE_SIZE_MISMATCH": tw.PAGE_SIZE_MISMATCH,
              "EPT_ENTRY_STATE_INCORRECT": tw.EPT_ENTRY_STATE_INCORRECT,
              "OPERAND_RCX": 1, "OPERAND_RDX": 2, "OPERAND_R8": 8}  # fmt: skip
    assert {name: status.as_unsigned(getattr(status, name)) for name in values} == values


STATES = {value for value in entry_states._API.tolist() if value != 255}


@pytest.mark.parametrize("dirty", [0, int(sept_entry.DIRTY)])
@pytest.mark.parametrize(
    "leaf", [0, int(sept_entry.LEAF), int(sept_entry.IPAT), int(sept_entry.LEAF | sept_entry.IPAT)]
)
@pytest.mark.parametrize("noise", [0, tw.HPA | 1 << 63 | 0x83F])
def test_sets_of_states(leaf: int, dirty: int, noise: int) -> None:
    """A set holds its states and nothing else, of all 128 codes; what is no state is in no set."""
    for blocked_and_pending in range(16):
        raw = np.uint64(blocked_and_pending << 53 | leaf | dirty | noise)
        state = entry_states.api_state(raw)
        for value in STATES:
            assert entry_states.allows(entry_states.states(value), raw) == (value == state)
            others = entry_states.states(*(STATES - {value}))
            assert entry_states.allows(others, raw) == (state in STATES and value != state)
        assert entry_states.allows(entry_states.ANY, raw) == (state in STATES)
