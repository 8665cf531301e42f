# All text and binary formats: random damage is told or harmless, and memory does not grow with the file.
# May import swaptable.trace, numpy, pytest.
# Run by pytest.
import json
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from swaptable.trace import TraceError, open_trace

REGIONS = [
    {"start": str(4096 * k), "end": 4096 * k + 8192, "nr_accesses": {"samples": "3"}, "age": 1} for k in range(4)
]
SNAPSHOT = {"start_time": "0", "end_time": "1 s", "regions": REGIONS}
DAMO = [
    {"kdamond_idx": 0, "intervals": {"sample_us": "5 ms", "aggr_us": 1e5}, "target_id": 1, "snapshots": [SNAPSHOT] * 3}
]
QUOTED = "obj-id-col=2, time-col=1, obj-size-col=3, op-col=4"

# name: (format, a record by its number, what precedes them, options)
FORMATS = {
    "oracleGeneral": (
        "oracleGeneral",
        lambda i: struct.pack("<IQIq", i >> 16, i * 7 % 9973, 4096 * (i % 3), -1),
        b"",
        {},
    ),
    "csv": ("csv", lambda i: b"%d.5,%d,4096,r\n" % (i, i % 9973), b"time,obj_id,obj_size,op\n", {}),
    "quoted csv": ("csv", lambda i: b'"%d",%d,4096,"get"\r\n' % (i, i % 9973), b"", {"csv": QUOTED}),
    "fio 3": ("fio", lambda i: b"%d f%d read %d 4096\n" % (i, i % 3, i % 9973 * 512), b"fio version 3 iolog\n", {}),
    "fio 2": ("fio", lambda i: b"f%d write %d 4096\n" % (i % 3, i % 9973 * 512), b"fio version 2 iolog\n", {}),
    "lackey": ("lackey", lambda i: b" L %08x,4\n" % (i % 9973 * 4096), b"", {}),
}


def content(name, records):
    _, record, head, _ = FORMATS[name]
    return head + b"".join(map(record, range(records)))


CASES = {name: (FORMATS[name][0], content(name, 50), FORMATS[name][3]) for name in FORMATS}
CASES |= {"damo": ("damo", json.dumps(DAMO, indent=1).encode(), {})}
CASES |= {"damo, compressed": ("damo", zlib.compress(CASES["damo"][1]), {})}


def damaged(data, rng):
    data = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = bytes(rng.choices(b'0123456789,"{}[]: \n\r.-eE', k=rng.randrange(1, 6)))
            case 3:
                del data[at : at + rng.randrange(30)]
            case 4:
                data[at:at] = data[at // 2 : at // 2 + 20]
    return bytes(data)


@pytest.mark.parametrize("name", CASES)
def test_damage_is_told_or_harmless(name, tmp_path):
    form, data, options = CASES[name]
    rng, told = random.Random(name), []
    path = tmp_path / "file"
    for _ in range(150):
        path.write_bytes(damaged(data, rng))
        for format in (form, None):
            try:
                blocks = list(open_trace(path, format=format, columns=("pid", "time"), limit=100_000, **options))
            except TraceError as error:
                told.append(str(error))
                continue
            for block in blocks:
                assert block.page.max() < 1 << 52
                assert len({len(column) for column in block.columns() if column is not None}) == 1
    assert len(told) > 20
    assert all(str(path) in message for message in told)


# Cells in quotes are Python's own objects, which are slow to count.
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "quoted csv"])
def test_memory_does_not_grow_with_the_file(name, tmp_path):
    form, _, _, options = FORMATS[name]
    peaks = []
    for records in (200_000, 600_000):
        path = tmp_path / f"{records}"
        path.write_bytes(content(name, records))
        tracemalloc.start()
        seen = sum(len(block) for block in open_trace(path, format=form, object_pages=2, **options))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert seen >= records
    assert peaks[1] < 1.3 * peaks[0]
    assert peaks[1] < 64 << 20


def test_memory_of_a_conversion(tmp_path):
    from swaptable.trace import convert

    records = np.zeros(1_000_000, [("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    records["id"], records["next"] = np.arange(1_000_000) % 5000, -1
    records.tofile(tmp_path / "s.bin")
    for name in ("t.npz", "t.bin"):
        tracemalloc.start()
        convert(tmp_path / "s.bin", tmp_path / name, compression="none")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 48 << 20
