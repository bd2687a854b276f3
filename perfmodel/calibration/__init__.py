"""Tune the cost model on observations, and know how wrong it can be."""
