# The text whose sorting is in sort.npz: log lines with skewed words.
# Imports the standard library only; run by any Python 3.
# Used by `make traces`, which sorts what it prints.
"""Print LINES lines of a made-up log, seeded."""

import random

LINES = 160_000
rng = random.Random(6)
words = ["".join(rng.choices("etaoinshrdlucmfwyp", k=rng.randrange(3, 11))) for _ in range(3000)]
for number in range(LINES):
    picked = " ".join(words[int(len(words) * rng.random() ** 3)] for _ in range(rng.randrange(4, 14)))
    print(f"{picked} {rng.randrange(1 << 24):06x} {number}")
