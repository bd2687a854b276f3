"""S-EPT walks, one and many, from the root to a level or to where they stop.

Source: Intel TDX module, tag TDX_1.5.01, ``sept_manager.c`` (``secure_ept_walk``).
"""

from kernels.jit import njit
from kernels.sept_entry import LEAF, RWX, entry_pfn, state_code
from kernels.tables import TD_LEVELS, TD_ROOT


@njit
def walk(tables, gfn, level):
    """Walk from the root to ``level``, as the module does: one entry read a level, no shortcut.

    Parameters
    ----------
    tables : Tables
    gfn : int64
        Guest frame number.
    level : int64
        0 = 4K, 1 = 2M, 2 = 1G, ...

    Returns
    -------
    reached : int64
        Level of the entry where the walk ended: above ``level`` if it met a leaf or a non-present entry.
    row, index : int64
        The entry's place in ``tables.sept``.
    entry : uint64
        Its raw value.
    """
    row = tables.td[TD_ROOT]
    reached = tables.td[TD_LEVELS] - 1
    while True:
        index = (gfn >> (9 * reached)) & 511
        entry = tables.sept[row, index]
        if reached <= level or (entry & RWX) == 0 or (entry & LEAF) != 0:
            return reached, row, index, entry
        row = entry_pfn(entry) - tables.sept_pfn
        reached -= 1


@njit
def walk_many(tables, gfns, level, reached, entries, states):
    """Walk to ``level`` for each of ``gfns``.

    Parameters
    ----------
    tables : Tables
    gfns : ndarray of int64, shape (n,)
    level : int64
    reached : ndarray of int8, shape (n,)
        Out: level where each walk ended.
    entries : ndarray of uint64, shape (n,)
        Out: raw entry there.
    states : ndarray of uint8, shape (n,)
        Out: the module's state code of that entry.
    """
    for i in range(gfns.size):
        at, _, _, entry = walk(tables, gfns[i], level)
        reached[i] = at
        entries[i] = entry
        states[i] = state_code(entry)
