# Threads on one table: what is measured, and that all of it was done.
# Imports the package.
# Used by pytest.
from swaptable import threads


def test_each_phase_with_each_number_of_threads():
    rows = threads.scaling([1, 2], repeats=2)
    assert [(row["order"], row["phase"], row["threads"]) for row in rows] == [
        (order, phase, n) for order in (0, 4) for n in (1, 2) for phase in ("alloc", "free")
    ]
    assert all(len(row["million_per_second"]) == 2 and min(row["million_per_second"]) > 0 for row in rows)
