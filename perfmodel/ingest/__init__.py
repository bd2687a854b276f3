"""Readers of users' own traces and measurements: one file a format, all behind :mod:`perfmodel.ingest.contract`."""
