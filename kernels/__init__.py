"""Numba kernels on numpy arrays: S-EPT and PAMT tables, walks, SEAMCALLs, batches.

Kernels know arrays and integers and nothing else; ``perfmodel`` knows hosts, guests, policies and costs.
"""
