# Snapshots: the table that is read back goes on as the first would have; files that are damaged or foreign are refused.
# Imports the package, numpy, hypothesis and pytest.
# Used by pytest; SWAPTABLE_MUTATIONS says how many damaged files.
from __future__ import annotations

import copy
import io
import os
import pickle
import struct
from hashlib import blake2b

import numpy as np
import pytest

from swaptable import (
    BlockSpace,
    CheckError,
    DeviceList,
    SlotBusyError,
    SnapshotError,
    SwapError,
    SwapTable,
    SwapValueError,
)

MUTATIONS = int(os.environ.get("SWAPTABLE_MUTATIONS", "3000"))
SHAPES = {
    "plain": {"slots": 6000, "cpus": 2},
    "bad slots": {"slots": 4096, "bad": [1, 5, 513, *range(1024, 1536), 4095], "cpus": 2},
    "no header": {"slots": 2500, "header": False},
    "discard": {"slots": 6000, "discard": True},
    "rotational": {"slots": 6000, "rotational": True},
    "no block device": {"slots": 3000, "block": False},
    "ghost": {"slots": None},
    "one slot": {"slots": 1, "header": False},
}
Story = list[object]


def live(table: SwapTable) -> np.ndarray:
    """Slots in use, past the end too."""
    here = np.arange(min(len(table), 1 << 14))
    if table.blocks:
        here = np.r_[here, (1 << 32) + np.arange(4096)]
    return here[(table.words(here) & 3) != 0]


def drive(table: SwapTable, seed: int, steps: int) -> Story:
    """Random operations; what each of them gave."""
    rng, story = np.random.default_rng(seed), []
    for _ in range(steps):
        what, order = int(rng.integers(12)), int(rng.choice([0, 0, 0, 1, 2, 4, 9]))
        some = live(table) if what > 3 else np.zeros(0, np.int64)
        some = some[rng.random(some.size) < 0.2]
        try:
            story.append(operate(table, rng, what, order, some))
        except SwapError as error:
            story.append((type(error), error.index))
    return story


def operate(table, rng, what, order, some):
    """One operation; its result as plain Python."""
    value = int(rng.integers(1, 1 << 41))
    cpu = int(rng.integers(table.cpus))
    if what < 3:
        return table.alloc_many(int(rng.integers(1 + (200 >> order))) + 1, order, cpu, memcg=value & 0xFFFF).tolist()
    if what == 3:
        return [table.alloc(order, cpu, pfn=value, contiguous=True) for _ in range(3)]
    if what < 6:
        return table.free_many(some)
    if what == 6 and some.size:
        return table.dup(int(some[0]), users=int(rng.choice([1, 14, 15, 1 << 20])))
    if what == 7:
        table.dup_many(some)
        return table.cache_del_many(some, np.full(some.size, value))
    if what == 8:
        return table.cache_add_many(some[:1], [value]).tolist()
    if what == 9:
        return [table.zero_set(int(slot)) for slot in some[:5]]
    if what == 10:
        return moved(table, some[:20])
    return table.run_discard() if rng.random() < 0.5 else table.compact(0)


def moved(table, slots):
    """Move cached slots to blocks elsewhere; hold one more."""
    slots = slots[(table.words(slots) & 3) == 2]
    to = table.block_alloc(len(slots) + 1)
    was = table.locs(slots)
    table.move_many(slots[: len(to)], was[: len(to)], to[: len(slots)])
    table.block_free(was[was != 0])
    return to.tolist()


def saved(table: SwapTable) -> bytes:
    file = io.BytesIO()
    table.save(file)
    return file.getvalue()


def loaded(data: bytes) -> SwapTable:
    return SwapTable.load(io.BytesIO(data))


def same(one: SwapTable, two: SwapTable) -> None:
    slots = np.r_[np.arange(min(len(one), 1 << 14)), (1 << 32) + np.arange(4096)] if one.blocks else np.arange(1 << 14)
    assert np.array_equal(one.words(slots), two.words(slots))
    assert np.array_equal(one.locs(slots), two.locs(slots))
    assert one.usage() == two.usage()
    assert [one.entry(slot) for slot in live(one)[:300]] == [two.entry(slot) for slot in live(two)[:300]]
    assert (one.blocks, len(one), one.cpus, one.free_blocks, one.past_limit) == (
        two.blocks, len(two), two.cpus, two.free_blocks, two.past_limit,
    )  # fmt: skip
    two.check()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_goes_on_as_the_first_would_have(shape, seed):
    table = SwapTable(**SHAPES[shape])
    for part in range(3):
        drive(table, 10 * seed + part, 60)
        twin = loaded(saved(table))
        same(table, twin)
        assert drive(table, seed + 99, 60) == drive(twin, seed + 99, 60)
        same(table, twin)


def test_every_kind_of_record_was_saved():
    """Overflow, locations, bitmaps, held blocks, both packed forms."""
    table = SwapTable(slots=8192, header=False)
    used = table.alloc_many(4096)
    table.dup_many(used)
    table.cache_del_many(used, np.r_[np.arange(512), np.arange(3584) * (1 << 20)])
    table.dup(2048, users=3)
    table.dup(3000, users=100)
    table.compact(0, now=1 << 40)
    more = table.alloc_many(64)
    moved(table, more[:20])
    assert all(table.memory()[kind] for kind in ("tables", "packed", "locations", "bitmaps", "overflow"))
    assert table.usage()["blocks"]["held"]
    same(table, loaded(saved(table)))


def test_runs_that_wait_for_their_discard():
    table = SwapTable(slots=4096, header=False, discard=True)
    slots = table.alloc_many(600)
    table.move_many(slots[:100], np.zeros(100, np.uint32), table.block_alloc(100))
    table.free_many(slots)
    assert table.usage()["blocks"]["waiting"]
    twin = loaded(saved(table))
    same(table, twin)
    ran = [], []
    table.run_discard(lambda first, nr: ran[0].append((first, nr)))
    twin.run_discard(lambda first, nr: ran[1].append((first, nr)))
    assert ran[0] == ran[1] != []
    same(table, twin)


@pytest.mark.parametrize("to", [1500, 9000])
def test_after_a_resize(to):
    table = SwapTable(slots=4000, bad=[7, 1400])
    slots = table.alloc_many(1000)
    table.dup_many(slots)
    table.cache_del_many(slots)
    table.free_many(slots[100:900])
    table.free_many(table.alloc_many(2600))
    table.resize(to)
    twin = loaded(saved(table))
    same(table, twin)
    assert drive(table, 5, 80) == drive(twin, 5, 80)
    assert drive_out(table) == drive_out(twin)
    same(table, twin)


def drive_out(table):
    """A resize, or why there is none."""
    try:
        return table.resize(5000)
    except SlotBusyError as error:
        return str(error)


def test_pickle_and_copy():
    table = SwapTable(slots=4096, cpus=2)
    drive(table, 3, 80)
    for twin in (pickle.loads(pickle.dumps(table)), copy.deepcopy(table)):
        assert drive(copy.copy(table), 4, 40) == drive(twin, 4, 40)

    class Mine(SwapTable):
        pass

    assert type(Mine.load(io.BytesIO(saved(table)))) is Mine


def test_a_path_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "swap.table"
    table = SwapTable(slots=1024)
    table.save(path)
    first = path.read_bytes()
    path.chmod(0o600)
    table.alloc()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        table.save(path)
    assert path.read_bytes() == first
    assert [one.name for one in tmp_path.iterdir()] == ["swap.table"]
    monkeypatch.undo()
    table.save(str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    same(table, SwapTable.load(path))


def test_what_cannot_be_saved():
    space = BlockSpace()
    shared, owners = SwapTable(slots=1024, space=space), SwapTable(slots=1024, owners=True)
    for table in (shared, owners):
        with pytest.raises(SwapValueError, match="shares a space of blocks, or keeps owners"):
            table.save(io.BytesIO())
    with pytest.raises(SwapValueError, match="shares a space"):
        pickle.dumps(shared)

    table = SwapTable(slots=1024, header=False)
    slots = table.alloc_many(1024)
    table.dup_many(slots)
    table.cache_del_many(slots)
    table.free(1000)

    def mover(src, dst):
        with pytest.raises(SlotBusyError, match="another thread is changing it"):
            table.save(io.BytesIO())

    table.free(1)
    assert table.defrag(1, mover=mover).moves
    table.check()


def test_of_a_list_of_devices_the_table_alone():
    devices, table = DeviceList(), SwapTable(slots=1024)
    devices.add(table)
    devices.alloc(4)
    twin = loaded(saved(table))
    same(table, twin)
    DeviceList().add(twin)


# ---- files that are none

GOOD = SwapTable(slots=3000, cpus=2, discard=True)
drive(GOOD, 8, 120)
DATA = saved(GOOD)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no snapshot of a swap table: it begins with b''"),
        (b"\x7fELF" + bytes(100), r"no snapshot of a swap table: it begins with b'\\x7fELF"),
        (DATA.replace(b"\r\n", b"\n", 1), "its line ends were changed"),
        (DATA[:8] + struct.pack("<I", 2) + DATA[12:], "version 2; this release knows version 1"),
        (DATA[:20], "cut off after 20 bytes"),
        (DATA[:-1], "damaged or cut off: the checksum"),
        (DATA + b"x", "damaged or cut off: the checksum"),
        (DATA[:500] + bytes([DATA[500] ^ 1]) + DATA[501:], "damaged or cut off: the checksum"),
    ],
)
def test_says_why(tmp_path, data, why):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(SnapshotError, match=why) as caught:
        SwapTable.load(path)
    assert str(path) in str(caught.value)


def sealed(data: bytes) -> bytes:
    """The same with a checksum that is right."""
    return data[:-16] + blake2b(data[:-16], digest_size=16).digest()


def sections(data: bytes) -> dict[str, tuple[int, int]]:
    """Where the body of each section is."""
    found, at = {}, 16
    while at < len(data) - 16:
        name, length = struct.unpack_from("<8sQ", data, at)
        found[name.rstrip(b"\0").decode()] = (at + 16, length)
        at += 16 + length
    return found


def test_a_number_of_each_kind_out_of_range():
    """With a checksum that is right: the reader itself says what is wrong."""
    where = sections(DATA)
    for number in range(10):
        at = where["numbers"][0] + 8 * number
        for value in (-1, 1 << 40, (1 << 63) - 1):
            with pytest.raises(SnapshotError):
                loaded(sealed(DATA[:at] + struct.pack("<q", value) + DATA[at + 8 :]))


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """Damage of one of many kinds: bits, bytes, runs, what is cut out or doubled, swapped or cut off."""
    out, kind = bytearray(data), int(rng.integers(6))
    at = int(rng.integers(len(out)))
    if kind == 0:
        out[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        out[at : at + 8] = rng.bytes(8)
    elif kind == 2:
        del out[at : at + int(rng.integers(1, 64))]
    elif kind == 3:
        out[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == 4:
        to = int(rng.integers(len(out)))
        out[at : at + 16], out[to : to + 16] = out[to : to + 16], out[at : at + 16]
    else:
        del out[at:]
    return bytes(out)


def campaign(n: int, seed: int) -> tuple[int, int]:
    """Load *n* damaged files as they are, and *n* with a checksum made right again: (refused, loaded) of the latter."""
    rng, refused = np.random.default_rng(seed), 0
    for _ in range(n):
        data = mutate(rng, DATA)
        if data != DATA:
            with pytest.raises(SnapshotError):
                loaded(data)
        # Whoever makes the checksum right gets a table without contradictions or an error, and never a crash.
        body = mutate_body(rng)
        try:
            table = loaded(sealed(body))
        except (SnapshotError, CheckError):
            refused += 1
            continue
        table.check()
        drive(table, 1, 3)
        table.check()
    return refused, n - refused


def mutate_body(rng: np.random.Generator) -> bytes:
    """Damage within a section, chosen first, since most bytes are words."""
    where = sections(DATA)
    begin, length = where[list(where)[int(rng.integers(len(where)))]]
    out = bytearray(DATA)
    for _ in range(int(rng.integers(1, 4)) if length else 0):
        at = begin + int(rng.integers(length))
        if rng.random() < 0.5:
            out[at] ^= 1 << int(rng.integers(8))
        else:
            out[at] = int(rng.integers(256))
    return bytes(out)


def test_damaged_files_are_refused():
    refused, accepted = campaign(min(MUTATIONS, 3000), 1)
    assert refused > accepted > 0


@pytest.mark.long
def test_many_damaged_files_are_refused():
    """SWAPTABLE_MUTATIONS=100000 for all of them."""
    for seed in range(2, 2 + max(1, MUTATIONS // 1000)):
        campaign(1000, seed)
