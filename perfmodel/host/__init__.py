"""A Linux host's memory: what /proc and /sys tell about it, and the TDMRs that Linux would build on it."""

from perfmodel.host.model import SCHEMA, Cache, Cpu, Host, Missing, Zone
from perfmodel.host.proc import read_host
from perfmodel.host.storage import load_host, save_host
from perfmodel.host.tdmr import Tdmr, build_tdmrs

__all__ = [
    "SCHEMA",
    "Cache",
    "Cpu",
    "Host",
    "Missing",
    "Tdmr",
    "Zone",
    "build_tdmrs",
    "load_host",
    "read_host",
    "save_host",
]
