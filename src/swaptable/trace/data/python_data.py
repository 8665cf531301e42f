# The program whose touches are in python-data.npz: a CSV is made, parsed, joined, summed up by numpy, written as JSON.
# Imports the standard library and numpy; run by any Python 3 that has it.
# Used by `make traces`.
"""A small data job: readings of sensors as CSV text, to arrays, to a summary as JSON."""

import csv
import io
import json

import numpy as np

ROWS, SENSORS = 24_000, 400
rng = np.random.default_rng(6)

text = io.StringIO()
writer = csv.writer(text)
writer.writerow(["time", "sensor", "value", "note"])
sensor = rng.zipf(1.4, ROWS) % SENSORS
value = rng.normal(20, 5, ROWS)
for i in range(ROWS):
    writer.writerow((i, f"s{sensor[i]:03}", f"{value[i]:.3f}", f"reading {i * 7919 % ROWS}"))

text.seek(0)
rows = list(csv.DictReader(text))
by_sensor: dict[str, list[float]] = {}
for row in rows:
    by_sensor.setdefault(row["sensor"], []).append(float(row["value"]))

table = np.array([float(row["value"]) for row in rows])
order = np.argsort(table, kind="stable")
windows = np.lib.stride_tricks.sliding_window_view(table, 64)
spectrum = np.abs(np.fft.rfft(windows[::16], axis=1))
gram = spectrum.T @ spectrum
summary = {
    name: {"mean": float(np.mean(v)), "p99": float(np.quantile(v, 0.99)), "values": v[:40]}
    for name, v in by_sensor.items()
}
report = json.dumps({"summary": summary, "top": [rows[i] for i in order[-2000:].tolist()], "gram": gram.tolist()})
again = json.loads(report)
print(len(report), len(again["summary"]), round(float(np.trace(gram)), 3))
