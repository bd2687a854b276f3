"""Is what no register and no platform holds named in one line?"""

from collections.abc import Callable

import numpy as np
import pytest

from perfmodel.errors import InputError
from perfmodel.module import ModulePlatform, ModuleTdmr, TdxModule
from perfmodel.module_platform import Seamrr

GIB, MIB, PAGE = 1 << 30, 1 << 20, 1 << 12

ONE = (ModuleTdmr(GIB, 4 * GIB),)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: ModulePlatform(tdmr=()), "tdmr"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(MIB, GIB),)), "tdmr[0].base 0x100000"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(GIB, 0),)), "tdmr[0].size 0"),
        (lambda: ModulePlatform(tdmr=(*ONE, ModuleTdmr(2 * GIB, GIB))), "tdmr[1].base"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(GIB, GIB, 2 * GIB),)), "tdmr[0].initialized"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(GIB, GIB, reserved=((GIB, PAGE),)),)), "reserved offset"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(GIB, GIB, reserved=((0, 5),)),)), "reserved size 5"),
        (lambda: ModulePlatform(tdmr=(ModuleTdmr(GIB, GIB, pamt_2m=77),)), "tdmr[0].pamt_2m 77"),
        (lambda: ModulePlatform(tdmr=ONE, hkid_bits=16), "hkid_bits 16"),
        (lambda: ModulePlatform(tdmr=ONE, hkid_bits=6), "private_hkid_min 64"),
        (lambda: ModulePlatform(tdmr=ONE, global_hkid=63), "global_hkid 63"),
        (lambda: ModulePlatform(tdmr=ONE, seamrr=Seamrr(5, PAGE)), "seamrr.base 5"),
        (lambda: ModulePlatform(tdmr=ONE, lps=0), "lps 0"),
        (lambda: ModulePlatform(tdmr=ONE, zero_step_threshold=-1), "zero_step_threshold -1"),
        (lambda: TdxModule.small(0), "gib 0"),
        (lambda: TdxModule.small(hkid=65), "hkid 65"),
        (lambda: TdxModule.small(hkid=1), "hkid 1"),
        (lambda: TdxModule.small(levels=4, gpaw=1), "levels 4"),
        (lambda: TdxModule.small(gpaw=2), "gpaw 2"),
        (lambda: TdxModule.small(op_state="LIVE_EXPORT"), "op_state 'LIVE_EXPORT'"),
        (lambda: TdxModule.small(vcpus=-1), "vcpus -1"),
        (lambda: TdxModule.small(tdr=9 * GIB), "tdr 0x240000000"),
        (lambda: TdxModule.small(tdr=GIB + 1), "tdr 0x40000001"),
        (lambda: TdxModule.small(tdcx=[GIB] * 6), "tdcx[1] 0x40000000"),
        (lambda: TdxModule.small(tdcx=[GIB]), "tdcx (1073741824,)"),
        (lambda: TdxModule.small().tdh_mem_track(rcx=-1), "rcx -1"),
        (lambda: TdxModule.small().tdh_mem_track(rcx=1 << 64), "rcx 0x10000000000000000"),
        (lambda: TdxModule.small().tdh_mem_page_aug(rcx=0, rdx=0, r8=1.5), "r8 1.5"),  # type: ignore[arg-type]
        (lambda: TdxModule.small().tdh_mem_track(rcx=0, lp=1), "lp 1"),
        (lambda: TdxModule.small().tdh_mem_sept_remove(rcx=0, rdx=0, version=256), "version 256"),
        (lambda: TdxModule.small().tdg_mem_page_accept(1, 0), "td 1"),
        (lambda: TdxModule.small().tdg_mem_page_accept(0, 0, -2), "interrupt_after -2"),
        (lambda: TdxModule.small().vcpu_enter(0, 1024), "vcpu 1024"),
        (lambda: TdxModule.small().vcpu_enter(0, rip=-1), "rip -1"),
        (lambda: TdxModule.small().td_ept_violation(0, rcx=0, rip=0), "vcpu 0: accepted is one that is inside"),
        (lambda: TdxModule.small().vcpu_exit(0), "vcpu 0: accepted is one that is inside"),
        (lambda: TdxModule.small().sept_entry(0, 1 << 47), "gpa 0x800000000000"),
        (lambda: TdxModule.small().sept_entry(0, 0, 4), "level 4"),
        (lambda: TdxModule.small().pamt(9 * GIB), "hpa 0x240000000"),
        (lambda: TdxModule.small().pamt(GIB, 3), "level 3"),
        (lambda: TdxModule.small().lock("pamt", hpa=0), "hpa 0"),
        (lambda: TdxModule.small().lock("tree"), "td None"),
        (lambda: TdxModule.small().lock("tdr", td=0), "kind 'tdr'"),
        (lambda: TdxModule.small().set_lifecycle(0, "GONE"), "lifecycle 'GONE'"),
    ],
)
def test_bad_input_is_named(make: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    text = str(refused.value)
    assert text.startswith(named) or f".{named}" in text
    assert ": accepted is " in text
    assert "\n" not in text


def test_defaults_do_not_overlap() -> None:
    platform = ModulePlatform(tdmr=(ModuleTdmr(0, 3 * GIB), ModuleTdmr(4 * GIB, 2 * GIB)))
    first, second = platform.tdmr
    assert (first.pamt_4k, first.pamt_2m, first.pamt_1g) == (6 * GIB, 6 * GIB + 12 * MIB, 6 * GIB + 12 * MIB + 6 * PAGE)
    assert second.pamt_4k == 6 * GIB + 12 * MIB + 7 * PAGE
    assert platform.seamrr == Seamrr(6 * GIB + 32 * MIB, 32 * MIB)
    assert platform.hkid_start_bit == 45


def test_memory_that_is_not_there() -> None:
    tdmr = ModuleTdmr(0, 3 * GIB, 2 * GIB + 4 * MIB, reserved=((GIB, PAGE),))
    module = TdxModule(ModulePlatform(tdmr=(tdmr,)))
    assert module.pamt(GIB).type == "RSVD"
    assert module.tdh_phymem_page_rdmd(rcx=2 * GIB).rax == 0xC000010100000001
    with pytest.raises(InputError):
        module.pamt(2 * GIB)
    with pytest.raises(InputError, match=r"tdcx\[0\]"):
        module.add_td(tdr=GIB + PAGE, tdcx=[GIB] * 6, hkid=70)
    assert np.count_nonzero(module.pamt(GIB)[2:]) == 0
