"""The TDX module's calls, one at a time: every check in the module's order, every status and output register."""
