# The asv benchmarks, a package so that they share how they measure; `python -m benchmarks` prints the gated rows.
# Imports nothing.
# Used by asv and by python -m benchmarks.
