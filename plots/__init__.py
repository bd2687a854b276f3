"""Figures from results: one file a figure. They draw what results hold and compute nothing that a table would need."""
