# The benchmarks: bench_<what>.py, classes of time_* and track_*; `python -m benchmarks` prints the gated rows.
# Imports nothing; each module imports what it measures.
# Used by asv, and imported whole by continuous integration.
"""Benchmarks for airspeed velocity."""
