"""Which priced counters make up each call of the TDX module in a life; a MapGPA enters the TD once a chunk."""

CALLS = {
    "TDH.VP.ENTER": ("vp_enter", "map_gpa"),
    "TDH.MEM.PAGE.ADD": ("page_add",),
    "TDH.MR.EXTEND": ("mr_extend",),
    "TDH.MEM.SEPT.ADD": ("sept_add",),
    "TDH.MEM.PAGE.AUG": ("aug_4k", "aug_2m", "aug_1g"),
    "TDH.MEM.RANGE.BLOCK": ("block_4k", "block_2m", "block_1g", "block_table"),
    "TDH.MEM.TRACK": ("mem_track",),
    "TDH.MEM.PAGE.DEMOTE": ("demote",),
    "TDH.MEM.PAGE.PROMOTE": ("promote",),
    "TDH.MEM.PAGE.REMOVE": ("remove_4k", "remove_2m", "remove_1g"),
    "TDH.PHYMEM.PAGE.WBINVD": ("page_wbinvd",),
    "TDH.PHYMEM.PAGE.RECLAIM": ("reclaim_4k", "reclaim_2m", "reclaim_1g"),
    "TDH.PHYMEM.PAMT.ADD": ("pamt_add",),
    "TDH.PHYMEM.PAMT.REMOVE": ("pamt_remove",),
    "TDG.MEM.PAGE.ACCEPT": (
        "accept_4k", "accept_2m", "accept_1g", "accept_exit", "accept_size_mismatch", "accept_1g_invalid",
    ),
}  # fmt: skip
