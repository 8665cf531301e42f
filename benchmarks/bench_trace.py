# Speed of the trace readers, by format, and of the generators, by kind.
# May import everything; zstandard where it is installed.
# Used by asv, and by `python benchmarks/bench_trace.py` for a table without it.
"""Page touches a second that readers yield and generators make.

The files are made here, from seed 1, before the clock starts. Figures are of CPU time; for damo a touch is one of the
expansion, and the JSON takes most of the time.
"""

import json
import os
import random
import sys
import tempfile
import zlib
from time import process_time

from swaptable.trace import generate, open_trace, synthetic

RECORDS = 1_000_000
FIVE_COLUMNS = "time-col=2, obj-id-col=5, obj-size-col=4, delimiter=,, has-header=true"
FORMATS = {
    "npz": ("t.npz", {}),
    "oracleGeneral": ("t.oracleGeneral", {}),
    "oracleGeneral, one pass": ("t.oracleGeneral", {"object_pages": 1}),
    "oracleGeneral.zst": ("t.oracleGeneral.zst", {}),
    "csv": ("t.csv", {}),
    "csv, five columns": ("five.csv", {"csv": FIVE_COLUMNS, "object_pages": 1}),
    "csv, quoted text ids": ("quoted.csv", {"csv": "obj-id-col=2"}),
    "lackey": ("t.lackey", {}),
    "fio": ("t.iolog", {}),
    "damo": ("damon.data", {}),
}
KINDS = ("zipf", "sequential", "usemem", "fork-server", "phases")


def make(name):
    """Write the file *name* to the current directory."""
    if os.path.exists(name):
        return
    if name.startswith("t.") and name != "t.iolog":
        generate("zipf", name, RECORDS, seed=1)
        return
    rng = random.Random(1)
    if name == "damon.data":
        with open(name, "wb") as out:
            out.write(zlib.compress(json.dumps([damon(rng)], indent=4).encode()))
        return
    lines = {
        "five.csv": lambda i: f"x,{i / 1000:.3f},y,4096,{rng.getrandbits(50)}\n",
        "quoted.csv": lambda i: f'"{i}","http://example.org/{rng.getrandbits(40)}"\n',
        "t.iolog": lambda i: f"{i} /dev/sda {rng.choice(('read', 'write'))} {rng.getrandbits(24) << 12} 4096\n",
    }[name]
    heads = {"five.csv": "a,time,c,size,id\n", "t.iolog": "fio version 3 iolog\n0 /dev/sda add\n"}
    with open(name, "w") as out:
        out.write(heads.get(name, ""))
        out.writelines(map(lines, range(RECORDS)))


def damon(rng):
    """A damo record of 200 snapshots with 100 regions, of which one in ten was touched."""

    def region(k):
        samples = rng.randrange(1, 20) if rng.random() < 0.1 else 0
        return {"start": 4096 * 500 * k, "end": 4096 * (500 * k + 400), "nr_accesses": samples, "age": 1}

    spans = [(i * 10**8, (i + 1) * 10**8) for i in range(200)]
    snapshots = [{"start_time": b, "end_time": e, "regions": [region(k) for k in range(100)]} for b, e in spans]
    return {"target_id": 0, "intervals": {"sample_us": 5000, "aggr_us": 100_000}, "snapshots": snapshots}


def read(name):
    """Read a file of FORMATS to its end; the number of touches."""
    path, options = FORMATS[name]
    return sum(map(len, open_trace(path, **options)))


class Reading:
    """The time that a reader takes for its file."""

    params = (list(FORMATS),)
    param_names = ("format",)
    timeout = 120

    def setup(self, name):
        try:
            make(FORMATS[name][0])
        except ValueError as err:  # zstandard is not there
            raise NotImplementedError(str(err)) from err

    def time_read(self, name):
        read(name)


class Making:
    """The time that a generator takes for a million touches."""

    params = (list(KINDS),)
    param_names = ("kind",)

    def time_make(self, kind):
        sum(map(len, synthetic(kind, RECORDS, seed=1)))


def main():
    """Print millions of touches a second; the best of three."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name in FORMATS:
            make(FORMATS[name][0])
            row(f"read {name}", lambda name=name: read(name))
        for kind in KINDS:
            row(f"make {kind}", lambda kind=kind: sum(map(len, synthetic(kind, RECORDS, seed=1))))
        os.chdir("/")


def row(what, run):
    """One line of the table."""
    best = 0.0
    for _ in range(3):
        begin = process_time()
        touches = run()
        best = max(best, touches / (process_time() - begin))
    print(f"{what:32} {best / 1e6:8.2f} M touches/s")


if __name__ == "__main__":
    sys.exit(main())
