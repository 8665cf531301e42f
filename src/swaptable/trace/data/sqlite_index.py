# The program whose touches are in sqlite-index.npz: an in-memory SQLite table with an index, built and then queried.
# Imports the standard library only; run by any Python that has sqlite3.
# Used to make the default trace again, see the package's docstring.
"""Insert rows, make an index, then look rows up and update some; a few rows are asked for far more often than most."""

import random
import sqlite3

ROWS = 60_000
QUERIES = 60_000
SKEW = 6  # ROWS * u ** SKEW, u uniform: half of the queries ask for 1.6% of the rows

rng = random.Random(1)
db = sqlite3.connect(":memory:")
db.execute("PRAGMA page_size = 16384")
db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, hits INTEGER, body BLOB)")
rows = ((i, f"item-{i * 7919 % ROWS:06}", 0, bytes(rng.randrange(150, 450))) for i in range(ROWS))
db.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", rows)
db.execute("CREATE INDEX by_name ON item (name)")
for _ in range(QUERIES):
    name = f"item-{int(ROWS * rng.random() ** SKEW) * 4099 % ROWS:06}"
    if rng.random() < 0.3:
        db.execute("UPDATE item SET hits = hits + 1 WHERE name = ?", (name,))
    else:
        db.execute("SELECT length(body) FROM item WHERE name = ?", (name,)).fetchone()
print(db.execute("SELECT sum(hits), count(*) FROM item WHERE body IS NOT NULL").fetchone())
