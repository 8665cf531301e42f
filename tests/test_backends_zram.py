# The compressed block device: contents, mm_stat, huge pages, writeback, threads.
# Imports the package, page_mix, hypothesis.
# Used by pytest.
import errno

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from page_mix import KINDS, PAGE, digest, mix

from swaptable.backends import Backend
from swaptable.backends.file import FileBackend
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.backends.zswap import ZswapBackend
from swaptable.errors import SwapFullError, SwapValueError, TransferError

FIELDS = [
    "orig_data_size", "compr_data_size", "mem_used_total", "mem_limit", "mem_used_max", "same_pages", "pages_compacted",
    "huge_pages", "huge_pages_since",
]


def stat_of(zram):
    line = zram.mm_stat()
    assert line.endswith("\n")
    return dict(zip(FIELDS, map(int, line.split()), strict=True))


@pytest.mark.parametrize("codec", ["lz4", "zstd-1"])
def test_churn(codec):
    zram, held, rng = ZramBackend(500, codec, backing=MemoryBackend(300)), {}, np.random.default_rng(1)
    for round_ in range(120):
        blocks = rng.permutation(500)[: rng.integers(1, 60)]
        if round_ % 4 == 3:
            zram.invalidate(blocks)
            held.update(dict.fromkeys(blocks.tolist(), digest(bytes(PAGE))))
        else:
            pages = mix(len(blocks), round_)
            assert not zram.write_many(pages, blocks).errors.any()
            held.update(zip(blocks.tolist(), map(digest, pages), strict=True))
        if round_ % 5 == 4:
            zram.mark_idle()
            zram.read_many(rng.permutation(500)[:100])
            zram.writeback(["huge", "idle", "huge_idle", "all"][round_ // 5 % 4], 50)
        if round_ % 20 == 19:
            zram.compact()
            zram.check()
        for block, page in zip(held, zram.read_many(list(held)), strict=True):
            assert digest(page) == held[block]
    assert int(zram.bd_stat().split()[2]) > 100
    zram.check()
    zram.invalidate(np.arange(500))
    zram.compact()
    zram.check()
    assert stat_of(zram)["mem_used_total"] == 0
    assert zram.bd_stat().split()[0] == "0"


def test_mm_stat():
    zram = ZramBackend(1000)
    kinds = ["zero"] * 10 + ["word"] * 5 + ["text"] * 50 + ["noise"] * 8
    rng = np.random.default_rng(2)
    pages = [KINDS[kind](rng) for kind in kinds]
    zram.write_folio(b"".join(pages), 100)
    compressed = sum(len(zram.codec.compress(page)) for page in pages[15:65])
    stat = stat_of(zram)
    assert stat["orig_data_size"] == 73 * PAGE
    assert stat["compr_data_size"] == compressed + 8 * PAGE
    assert stat["same_pages"] == 15
    assert stat["huge_pages"] == stat["huge_pages_since"] == 8
    assert stat["mem_limit"] == 0
    assert stat["mem_used_total"] == stat["mem_used_max"] == zram.memory()["pool"] + zram.memory()["spare"]
    zram.invalidate(np.arange(165, 173))
    stat = stat_of(zram)
    assert (stat["huge_pages"], stat["huge_pages_since"]) == (0, 8)
    assert stat["orig_data_size"] == 65 * PAGE
    zram.compact()
    zram.reset_mem_used_max()
    assert stat_of(zram)["mem_used_max"] == stat_of(zram)["mem_used_total"] == zram.memory()["pool"]
    zram.check()


def test_mm_stat_is_laid_out_as_the_kernels():
    """Nine numbers, each right-justified in at least eight columns, one blank between them."""
    zram = ZramBackend(8)
    zram.write_folio(bytes(PAGE), 3)
    assert zram.mm_stat() == "    4096        0        0        0        0        1        0        0        0\n"
    assert zram.bd_stat() == "       0        0        0\n"


def test_the_table_is_16_bytes_a_block_at_disksize():
    zram = ZramBackend(1 << 16)
    memory = zram.memory()
    assert memory["table"] == 16 << 16
    assert memory["pool"] == memory["spare"] == memory["zspages"] == 0
    zram.write_folio(mix(100, 3), 0)
    assert zram.memory()["table"] == 16 << 16
    zram.check()


def test_density():
    """The allocator's overhead: below the 4 % of a phone's zram."""
    zram, rng = ZramBackend(4000), np.random.default_rng(4)
    zram.write_many(mix(4000, 4, {"text": 0.6, "records": 0.4}), 0)
    for round_ in range(8):
        blocks = rng.permutation(4000)[:1000]
        zram.write_many(mix(1000, 50 + round_, {"text": 0.6, "records": 0.4}), blocks)
    zram.compact()
    stat = stat_of(zram)
    assert stat["mem_used_total"] <= 1.04 * stat["compr_data_size"]
    assert stat["pages_compacted"] > 0
    zram.check()


def test_mem_limit():
    zram = ZramBackend(2000, mem_limit=64 * PAGE)
    pages = mix(500, 5, {"text": 1.0})
    written = zram.write_many(pages, 0)
    full = np.flatnonzero(written.errors)
    assert set(written.errors[full].tolist()) == {errno.ENOSPC}
    assert (written.blocks[full] == -1).all()
    assert stat_of(zram)["mem_used_total"] <= 64 * PAGE
    good = np.flatnonzero(written.errors == 0)
    assert (zram.read_many(good) == pages[good]).all()
    assert not zram.read_many(full).any()
    # What is refused leaves its block as it was; of a folio nothing stays.
    refused = zram.write_many(mix(50, 6, {"noise": 1.0}), good[:50])
    kept = good[:50][refused.errors != 0]
    assert len(kept)
    assert (zram.read_many(kept) == pages[kept]).all()
    with pytest.raises(SwapFullError):
        zram.write_folio(mix(200, 7, {"noise": 1.0}), 1000)
    assert not zram.read_many(np.arange(1000, 1200)).any()
    zram.mem_limit = 0
    assert not zram.write_many(pages, 0).errors.any()
    zram.check()


def test_writeback_redirects_inside(tmp_path):
    """The table's entry stays and names a block of the backing file."""
    with FileBackend(tmp_path / "backing", 64, create=True) as backing:
        zram = ZramBackend(200, backing=backing)
        pages = mix(100, 8, {"text": 0.7, "noise": 0.3})
        zram.write_folio(pages, 0)
        huge = stat_of(zram)["huge_pages"]
        table = zram.memory()["table"]
        assert zram.writeback("huge") == huge > 10
        assert backing.counts()["writes"] == 1      # neighbours there
        stat = stat_of(zram)
        assert stat["huge_pages"] == 0
        assert stat["orig_data_size"] == 100 * PAGE
        assert zram.memory()["table"] == table
        assert (zram.read_many(np.arange(100)) == pages).all()
        assert zram.bd_stat().split() == [str(huge)] * 3
        assert zram.writeback("huge") == 0
        zram.write_many(pages[:1], 50)      # rewritten: its place is free again
        zram.invalidate(np.arange(51, 100))
        assert int(zram.bd_stat().split()[0]) < huge
        zram.check()


def test_writeback_of_idle_pages():
    zram = ZramBackend(100, backing=MemoryBackend(100))
    pages = mix(60, 9, {"text": 0.8, "noise": 0.2})
    zram.write_folio(pages, 0)
    assert zram.writeback("idle") == 0
    assert zram.mark_idle() == 60
    zram.read_many(np.arange(20))
    zram.write_many(pages[20:30], 20)
    assert zram.writeback("idle", 25) == 25
    assert zram.writeback("idle") == 5
    assert zram.writeback("huge_idle") == 0
    assert zram.writeback("all") == 30
    assert stat_of(zram)["compr_data_size"] == 0
    assert (zram.read_many(np.arange(60), exclusive=True) == pages).all()
    assert not zram.read_many(np.arange(60)).any()
    zram.check()


def test_writeback_stops_when_the_backing_file_is_full():
    zram = ZramBackend(100, backing=MemoryBackend(10))
    pages = mix(30, 10, {"text": 1.0})
    zram.write_folio(pages, 0)
    assert zram.writeback("all") == 10
    assert zram.writeback("all") == 0
    assert (zram.read_many(np.arange(30)) == pages).all()
    zram.check()


def test_a_failed_writeback_keeps_the_pages(tmp_path):
    with FileBackend(tmp_path / "backing", 64, create=True, direct=False) as backing:
        zram = ZramBackend(100, backing=backing)
        pages = mix(40, 11, {"text": 1.0})
        zram.write_folio(pages, 0)
        backing.fault = lambda call, operation, nbytes: errno.EIO if operation == "write" else None
        with pytest.raises(TransferError):
            zram.writeback("all")
        assert zram.bd_stat().split() == ["0", "0", "0"]
        zram.check()
        backing.fault = None
        assert zram.writeback("all") == 40
        backing.fault = lambda call, operation, nbytes: errno.EIO
        with pytest.raises(TransferError):
            zram.read_many([0])
        backing.fault = None
        assert (zram.read_many(np.arange(40)) == pages).all()
        zram.check()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: z.write_many(bytes(PAGE), [64]), "block 64"),
        (lambda z: z.write_many(bytes(PAGE), [-1]), "block -1"),
        (lambda z: z.write_many(bytes(PAGE)), "does not choose"),
        (lambda z: z.write_many(bytes(PAGE), [1, 2]), "2 blocks for 1"),
        (lambda z: z.read_many([0, 99]), "block 99"),
        (lambda z: z.invalidate([64]), "block 64"),
        (lambda z: z.writeback("huge"), "no backing"),
        (lambda z: setattr(z, "mem_limit", 100), "mem_limit 100"),
        (lambda z: ZramBackend(0), "blocks 0"),
        (lambda z: ZramBackend(8, backing=ZswapBackend(limit=1 << 20)), "zswap"),
        (lambda z: ZramBackend(8, backing=MemoryBackend(8)).writeback("cold"), "'cold'"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, message):
    zram = ZramBackend(64)
    pages = mix(64, 12)
    zram.write_folio(pages, 0)
    with pytest.raises(SwapValueError, match=message):
        call(zram)
    assert (zram.read_many(np.arange(64)) == pages).all()
    zram.check()


class Machine(RuleBasedStateMachine):
    """The device against a dict of bytes."""

    def __init__(self):
        super().__init__()
        self.zram, self.held, self.seed = ZramBackend(24, backing=MemoryBackend(9)), {}, 0

    @rule(what=st.lists(st.tuples(st.integers(0, 23), st.sampled_from(sorted(KINDS))), min_size=1, max_size=12))
    def write(self, what):
        self.seed += 1
        rng = np.random.default_rng(self.seed)
        pages = [KINDS[kind](rng) for _, kind in what]
        self.zram.write_many(b"".join(pages), [block for block, _ in what])
        self.held.update(zip((block for block, _ in what), pages, strict=True))

    @rule(blocks=st.lists(st.integers(0, 23)), exclusive=st.booleans())
    def read(self, blocks, exclusive):
        for block, page in zip(blocks, self.zram.read_many(blocks, exclusive=exclusive), strict=True):
            assert page.tobytes() == self.held.get(block, bytes(PAGE))
        if exclusive:
            self.drop_held(blocks)

    @rule(blocks=st.lists(st.integers(0, 23)))
    def drop(self, blocks):
        self.zram.invalidate(blocks)
        self.drop_held(blocks)

    def drop_held(self, blocks):
        for block in blocks:
            self.held.pop(block, None)

    @rule()
    def mark_idle(self):
        self.zram.mark_idle()

    @rule(which=st.sampled_from(["all", "huge", "idle", "huge_idle"]), limit=st.integers(0, 24))
    def writeback(self, which, limit):
        assert self.zram.writeback(which, limit) <= limit

    @rule()
    def compact(self):
        self.zram.compact()

    @invariant()
    def holds(self):
        self.zram.check()
        assert stat_of(self.zram)["orig_data_size"] == len(self.held) * PAGE


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_it_is_a_backend():
    zram = ZramBackend(8)
    assert isinstance(zram, Backend)
    assert zram.room() == 8
    zram.flush()
    zram.close()
