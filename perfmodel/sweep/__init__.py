"""Grids of guests, interfaces and prices: counted once, priced many times."""
