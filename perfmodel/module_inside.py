"""What a TDX module holds, seen and set from outside: its TDs, their entries, the PAMT and every lock."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from kernels.module import state as st
from kernels.module.dynamic_pamt import use_dynamic_pamt
from kernels.module.pamt_walk import count_leaf
from kernels.module.replay import Outcome, find_entry, replay_records
from kernels.pamt_entry import PT_TDVPR
from kernels.replay_record import LOCK_KINDS, LOCK_SIDES, OP_LOCK, OP_UNLOCK
from perfmodel import module_state as ms
from perfmodel.errors import InputError
from perfmodel.module_platform import (
    LIFECYCLES,
    OP_STATES,
    ModulePlatform,
    ModuleTd,
    PamtView,
    SeptView,
    TdView,
    check,
    check_int,
)
from perfmodel.vectors.records import Records
from perfmodel.vectors.statuses import status_name


class ModuleInside:
    """The state of a TDX module on a described platform; nothing here is a call of the module, or counts an event.

    Parameters
    ----------
    platform : ModulePlatform

    Raises
    ------
    InputError
        From every method: what names no TD, address, level or state, in one line.
    """

    def __init__(self, platform: ModulePlatform) -> None:
        self.platform = platform
        self._state = ms.build_module(platform, (), platform.lps)
        if platform.dynamic_pamt:
            use_dynamic_pamt(self._state)
        self._held: Counter[tuple[Any, ...]] = Counter()

    def add_td(
        self, *, tdr: int, tdcx: Sequence[int], hkid: int, gpaw: int = 0, levels: int = 4,
        op_state: str = "INITIALIZED", vcpus: int = 1, tdvpr: Sequence[int] = (), epoch: int = 1,
    ) -> int:  # fmt: skip
        """Lay down a TD as MNG.CREATE, MNG.ADDCX and MNG.INIT leave it, and return its index.

        Parameters
        ----------
        tdr, tdcx : int, sequence of six int
            HPA of pages that are not in use, with Dynamic PAMT in ranges that have a pair; ``tdcx[3]`` becomes the
            S-EPT root.
        hkid : int
            A private HKID that no other TD has.
        gpaw, levels : int
            0 or 1, and 4 or 5; a GPA width of 1 needs 5 levels.
        op_state : str
            INITIALIZED or RUNNABLE.
        vcpus : int
        tdvpr : sequence of int
            HPA of vCPU pages; they count as the TD's pages.
        epoch : int
        """
        check("op_state", op_state, op_state in ("INITIALIZED", "RUNNABLE"), "INITIALIZED or RUNNABLE")
        td = ModuleTd(
            tdr=tdr, tdcx=tuple(tdcx), hkid=hkid, gpaw=gpaw, levels=levels, op_state=OP_STATES.index(op_state),
            num_vcpus=vcpus, tdvpr=tuple(tdvpr), td_epoch=epoch,
        )  # fmt: skip
        ms.check_td(td, self._state, self.platform)
        self._state = ms.add_td(self._state, td)
        for hpa in tdvpr:
            ms.set_type(self._state, hpa, 0, PT_TDVPR, tdr)
        if self.platform.dynamic_pamt:
            for hpa in (tdr, *tdcx, *tdvpr):
                count_leaf(self._state, hpa >> 12, True)
        return len(self._state.tds) - 1

    def _td(self, td: int | None) -> int:
        if isinstance(td, int | np.integer) and 0 <= td < len(self._state.tds):
            return int(td)
        raise InputError(f"td {td!r}: accepted is a TD's index, below {len(self._state.tds)}")

    # A look inside, and a hand in

    def td(self, td: int) -> TdView:
        """Return the fields and lock words of a TD."""
        return ms.view_td(self._state, self._td(td))

    def sept_entry(self, td: int, gpa: int, level: int = 0) -> SeptView:
        """Return the entry for ``gpa`` at ``level``, or above it where the tables end; blocked tables are followed."""
        gfn = self._gfn(td, gpa, level)
        reached, row, index = find_entry(self._state, td, gfn, level)
        return ms.view_sept(int(reached), self._state.sept[row, index])

    def _gfn(self, td: int, gpa: int, level: int) -> int:
        fields = self._state.tds[self._td(td)]
        check_int("level", level, 0, int(fields[st.LEVELS]) - 1)
        check_int("gpa", gpa, 0, (1 << int(fields[st.GPA_BITS])) - 1)
        return gpa >> 12

    def pamt(self, hpa: int, level: int | None = None) -> PamtView:
        """Return the PAMT entry of ``hpa`` at ``level``, by default the one that is in use: 1G, 2M, else 4K."""
        check_int("hpa", hpa, 0, (1 << 64) - 1)
        check("hpa", hpa, ms.is_usable(self._state, hpa), "an address in an initialised TDMR")
        if level is None:
            used = (at for at in (2, 1) if ms.view_pamt(self._state, hpa, at).type == "REG")
            level = next(used, 0)
        check_int("level", level, 0, 2)
        return ms.view_pamt(self._state, hpa, level)

    def set_fatal(self, td: int, fatal: bool = True) -> None:
        """Mark a TD as failed for good, or as not."""
        self._state.tds[self._td(td), st.FATAL] = bool(fatal)

    def set_lifecycle(self, td: int, lifecycle: str) -> None:
        """Set a TD's lifecycle state by name; TEARDOWN stands for VP.FLUSH to KEY.FREEID and allows RECLAIM."""
        check("lifecycle", lifecycle, lifecycle in LIFECYCLES, ", ".join(LIFECYCLES))
        self._state.tds[self._td(td), st.LIFECYCLE] = LIFECYCLES.index(lifecycle)

    def set_op_state(self, td: int, op_state: str) -> None:
        """Set a TD's op-state by name."""
        check("op_state", op_state, op_state in OP_STATES, ", ".join(OP_STATES))
        self._state.tds[self._td(td), st.OP_STATE] = OP_STATES.index(op_state)

    def set_num_tdcx(self, td: int, pages: int) -> None:
        """Set how many of a TD's six TDCX pages have been added."""
        check_int("pages", pages, 0, 6)
        self._state.tds[self._td(td), st.NUM_TDCX] = pages

    def set_num_vcpus(self, td: int, vcpus: int) -> None:
        """Set how many vCPUs a TD has."""
        check_int("vcpus", vcpus, 0, st.MAX_VCPUS)
        self._state.tds[self._td(td), st.NUM_VCPUS] = vcpus

    def lock(
        self, kind: str, *, td: int | None = None, hpa: int = 0, gpa: int = 0, level: int = 0, exclusive: bool = True,
        side: str = "host",
    ) -> str:  # fmt: skip
        """Let another LP take a lock, and return the status that it sees, with the usual traces of a refusal.

        ``kind`` is ``pamt`` (with ``hpa`` and ``level``: this entry alone), ``tree``, ``opstate``, ``epoch`` (with
        ``td``) or ``septe`` (with ``td``, ``gpa``, ``level`` and the ``side``, ``host`` or ``guest``).
        """
        key = (kind, td, hpa, gpa, level, bool(exclusive), side)
        status = self._lock(OP_LOCK, *key)
        self._held[key] += status == "SUCCESS"
        return status

    def unlock(
        self, kind: str, *, td: int | None = None, hpa: int = 0, gpa: int = 0, level: int = 0, exclusive: bool = True,
        side: str = "host",
    ) -> None:  # fmt: skip
        """Release what ``lock`` has taken with the same arguments."""
        key = (kind, td, hpa, gpa, level, bool(exclusive), side)
        check("kind", kind, self._held[key] > 0, "a lock that is held, with the arguments that took it")
        self._lock(OP_UNLOCK, *key)
        self._held[key] -= 1

    def _lock(
        self, op: int, kind: str, td: int | None, hpa: int, gpa: int, level: int, exclusive: bool, side: str
    ) -> str:
        check("kind", kind, kind in LOCK_KINDS, ", ".join(LOCK_KINDS))
        check("side", side, side in LOCK_SIDES, ", ".join(LOCK_SIDES))
        if kind == "pamt":
            self.pamt(hpa, level)
        elif kind == "septe":
            self._gfn(self._td(td), gpa, level)
        else:
            self._td(td)
        records = Records.empty(1)
        for name, value in {
            "op": op, "td": -1 if td is None else td, "lock_kind": LOCK_KINDS.index(kind), "lock_mode": exclusive,
            "lock_side": LOCK_SIDES.index(side), "lock_level": level, "lock_hpa": hpa, "lock_gpa": gpa,
        }.items():  # fmt: skip
            getattr(records, name)[0] = value
        got = Outcome(*(getattr(records, name) for name in Outcome._fields))
        replay_records(self._state, records, got)
        return status_name(int(got.rc[0]) >> 32)
