# The compressed pool against a dict: contents, refusals, limit, second chance, compaction, threads, damage.
# Imports the package, page_mix, hypothesis.
# Used by pytest.
import errno

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from page_mix import KINDS, PAGE, digest, mix

from swaptable.backends import Backend
from swaptable.backends.zswap import ZswapBackend
from swaptable.errors import CheckError, PageRefusedError, SlotNotInUseError, SwapError, SwapFullError, SwapValueError

MIB = 1 << 20


def pool_of(limit=64 * MIB, codec="lz4", **kw):
    return ZswapBackend(codec, limit=limit, **kw)


def one(kind, seed=0):
    return KINDS[kind](np.random.default_rng(seed))


@pytest.mark.parametrize("codec", ["lz4", "lz4hc", "zstd-1", "zstd", "lzo"])
def test_churn(codec):
    """Random stores, loads, exclusive loads and drops; every page by its hash, everything checked at the end."""
    pool, held, rng = pool_of(codec=codec), {}, np.random.default_rng(2)
    pages = mix(600 if codec == "lzo" else 3000, 4)
    for round_ in range(40):
        some = pages[rng.integers(0, len(pages), rng.integers(1, 200))]
        numbers, errors = pool.write_many(some)
        for number, error, page in zip(numbers.tolist(), errors.tolist(), some, strict=True):
            assert (number == -1) == (error != 0)
            if error == 0:
                assert number not in held
                held[number] = digest(page)
        gone = rng.permutation(list(held))[: rng.integers(0, len(held))]
        half = len(gone) // 2
        for number, page in zip(gone[:half].tolist(), pool.read_many(gone[:half], exclusive=True), strict=True):
            assert digest(page) == held.pop(number)
        pool.invalidate(gone[half:])
        for number in gone[half:].tolist():
            del held[number]
        if round_ % 10 == 9:
            pool.compact()
        for number, page in zip(held, pool.read_many(list(held)), strict=True):
            assert digest(page) == held[number]
    assert pool.debugfs()["stored_pages"] == len(held)
    pool.check(deep=True)
    pool.invalidate(list(held))
    pool.trim()
    pool.check()
    assert pool.memory()["pool"] == pool.memory()["spare"] == pool.memory()["records"] == 0


def test_density_after_ageing():
    """Pool bytes within 1.06 of the compressed bytes after churn and compaction; a record is 12 bytes."""
    pool, rng = pool_of(), np.random.default_rng(3)
    pages = mix(4000, 5, {"text": 0.5, "records": 0.5})
    live, errors = pool.write_many(pages)
    live = live[errors == 0]
    assert pool.memory()["records"] <= 12 * len(live) + 2 * PAGE
    for round_ in range(15):
        live = rng.permutation(live)
        pool.invalidate(live[:1000])
        fresh, errors = pool.write_many(mix(1000, 100 + round_, {"text": 0.5, "records": 0.5}))
        live = np.concatenate([live[1000:], fresh[errors == 0]])
    pool.compact()
    pool.check()
    n = pool.counts()
    assert n["pages"] * PAGE <= 1.06 * n["bytes"]
    assert pool.memory()["records"] <= 12 * 4000 + 2 * PAGE


def test_one_word_needs_no_pool():
    pool = pool_of()
    pages = mix(500, 6, {"zero": 0.5, "word": 0.5})
    numbers, errors = pool.write_many(pages)
    assert not errors.any()
    assert pool.memory()["pool"] == 0
    assert pool.counts()["filled"] == 500
    assert (pool.read_many(numbers) == pages).all()
    almost = np.zeros((2, PAGE), np.uint8)
    almost[0, -1] = almost[1, 2048] = 1
    assert not pool.write_many(almost).errors.any()
    assert pool.counts()["filled"] == 500
    pool.check()


def test_a_page_that_saves_nothing_is_refused():
    pool = pool_of()
    noise = one("noise")
    written = pool.write_many(noise + one("text") + noise)
    assert written.errors.tolist() == [errno.E2BIG, 0, errno.E2BIG]
    assert written.blocks[0] == written.blocks[2] == -1
    with pytest.raises(PageRefusedError) as caught:
        pool.write_folio(one("text") + noise + one("text"))
    assert caught.value.index == 1
    assert pool.debugfs()["stored_pages"] == 1
    assert pool.debugfs()["reject_compress_poor"] == 3
    pool.check()


def test_every_length_saves_space_or_is_refused():
    """What is accepted takes less than a page with its share of the zspage and its record."""
    pool = pool_of()
    for noisy in range(0, PAGE, 64):
        page = np.zeros(PAGE, np.uint8)
        page[:noisy] = np.random.default_rng(noisy).integers(0, 256, noisy)
        numbers, errors = pool.write_many(page)
        length = len(pool.codec.compress(page))
        assert (errors[0] == errno.E2BIG) == (length > pool.pool.largest)
        if errors[0] == 0 and noisy:
            assert pool.read_blobs(numbers)[1].tolist() == [length]
    assert 3800 < pool.pool.largest < PAGE - 16
    pool.check(deep=True)


def test_kept_where_writeback_is_off():
    pool = pool_of(keep_incompressible=True)
    pages = mix(50, 8, {"noise": 0.5, "text": 0.5})
    numbers = pool.write_folio(pages)
    assert (pool.read_folio(numbers) == pages).all()
    raw = pool.debugfs()["stored_incompressible_pages"]
    assert 0 < raw < 50
    pool.invalidate(numbers[::2])
    pool.compact()
    assert (pool.read_many(numbers[1::2]) == pages[1::2]).all()
    pool.check()


@pytest.mark.parametrize("order", ["as stored", "backwards", "shuffled"])
def test_few_pages_are_kept_to_spare(order):
    """A 32nd of the limit, and a quarter more at most until many are given back at once."""
    pool, most = pool_of(limit=32 * MIB), 32 * MIB // PAGE // 32
    pages, rng = mix(6000, 11, {"text": 1.0}), np.random.default_rng(3)
    for _ in range(3):
        numbers = pool.write_many(pages).blocks
        assert (numbers >= 0).all() and pool.counts()["pages"] > 5 * most
        drops = {"as stored": numbers, "backwards": numbers[::-1], "shuffled": rng.permutation(numbers)}
        for some in np.array_split(drops[order], 20):
            pool.invalidate(some)
            assert pool.counts()["spare_pages"] <= most + most // 4
            pool.check(deep=True)
        assert most <= pool.counts()["pages"] == pool.counts()["spare_pages"]
    pool.trim()
    assert pool.counts()["pages"] == 0
    pool.check()


def test_the_limit_holds_and_the_threshold_reopens():
    pool = pool_of(limit=MIB, accept_threshold_percent=50)
    pages = mix(1500, 9, {"text": 1.0})
    numbers, errors = pool.write_many(pages)
    assert errors.max() == errno.ENOSPC
    first = int(np.argmax(errors != 0))
    assert (errors[first:] == errno.ENOSPC).all()
    assert pool.debugfs()["pool_limit_hit"] > 0
    assert pool.room() == 0
    assert pool.memory()["pool"] + pool.memory()["spare"] <= MIB
    with pytest.raises(SwapFullError):
        pool.write_folio(pages[0])
    pool.check()
    live = numbers[:first]
    while pool.memory()["pool"] > MIB // 2:
        assert pool.write_many(bytes(PAGE)).errors[0] == errno.ENOSPC    # even what needs no pool, as in the kernel
        pool.invalidate(live[:20])
        live = live[20:]
        pool.compact()
    assert pool.room() > 0
    assert not pool.write_many(pages[:50]).errors.any()
    pool.check()


def test_limits():
    pool = ZswapBackend(total=100 * MIB, max_pool_percent=10)
    assert pool.limit == 10 * MIB
    pool.max_pool_percent = 20
    assert pool.limit == 20 * MIB
    pool.limit = MIB
    assert pool.max_pool_percent == 1
    for change, message in (
        (lambda: setattr(pool, "limit", 200 * MIB), "limit 209715200"),
        (lambda: setattr(pool, "limit", 0), "limit 0"),
        (lambda: setattr(pool, "max_pool_percent", 0), "max_pool_percent 0"),
        (lambda: setattr(pool, "accept_threshold_percent", 101), "accept_threshold_percent 101"),
        (lambda: ZswapBackend(limit=100), "limit 100"),
        (lambda: ZswapBackend(max_pool_percent=101), "max_pool_percent 101"),
    ):
        with pytest.raises(SwapValueError, match=message):
            change()
    assert pool.limit == MIB
    pool.check()


def test_second_chance():
    """A store and a load reference a page; the hand takes that mark before it takes the page."""
    pool = pool_of()
    numbers = pool.write_folio(mix(100, 11, {"text": 1.0}))
    assert sorted(pool.reclaim_candidates(30)) == numbers[:30].tolist()
    pool.read_many(numbers[40:50])
    chosen = pool.reclaim_candidates(60).tolist()
    assert len(set(chosen)) == 60
    assert not set(chosen) & set(numbers[40:50].tolist())
    assert set(chosen) == set(numbers[30:].tolist()) - set(numbers[40:50].tolist())
    assert len(pool.reclaim_candidates(10**6)) <= 100
    pool.written_back(chosen[:10])
    assert pool.debugfs()["written_back_pages"] == 10
    assert pool.debugfs()["stored_pages"] == 90
    assert not set(pool.reclaim_candidates(100).tolist()) & set(chosen[:10])
    pool.check()


def test_pages_of_one_word_are_no_candidates():
    pool = pool_of()
    pool.write_folio(mix(20, 1, {"zero": 1.0}))
    assert pool.reclaim_candidates(20).size == 0
    assert pool_of().reclaim_candidates(5).size == 0


def test_numbers_are_reused_and_trimmed():
    pool = pool_of()
    numbers = pool.write_folio(mix(1000, 12, {"text": 1.0}))
    assert sorted(numbers) == list(range(1000))
    pool.invalidate(numbers[100:])
    assert set(pool.write_folio(mix(50, 13, {"text": 1.0})).tolist()) <= set(range(100, 1000))
    pool.invalidate(sorted(pool_numbers(pool) - set(range(100))))
    before = pool.memory()["records"]
    pool.trim()
    assert pool.memory()["records"] <= before - PAGE
    assert pool.write_folio(one("text")).tolist() == [100]
    pool.check()


def pool_numbers(pool):
    """The numbers in use, found by asking."""
    used = set()
    for number in range(1000):
        try:
            pool.read_many([number])
        except SlotNotInUseError:
            continue
        used.add(number)
    return used


def test_blobs_move_as_they_are():
    source, target = pool_of(codec="zstd"), pool_of(codec="zstd", keep_incompressible=True)
    pages = mix(60, 14, {"text": 0.6, "records": 0.4})
    numbers, errors = source.write_many(pages)
    numbers, pages = numbers[errors == 0], pages[errors == 0]
    blobs, lengths = source.read_blobs(numbers)
    assert (source.codec.decompress_many(blobs, lengths) == pages).all()
    moved = target.write_blobs(blobs, lengths)
    assert not moved.errors.any()
    assert (target.read_many(moved.blocks) == pages).all()
    with pytest.raises(SwapValueError, match="one word"):
        source.read_blobs(source.write_folio(bytes(PAGE)))
    with pytest.raises(SlotNotInUseError):
        source.read_blobs([10**6])
    with pytest.raises(SwapValueError, match="length 4000"):
        target.write_blobs(blobs[:1], [4000])
    source.check(deep=True)
    target.check(deep=True)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: p.read_many([5000]), SlotNotInUseError, "5000"),
        (lambda p: p.read_many([-1]), SlotNotInUseError, "-1"),
        (lambda p: p.read_many([0, 1, 77]), SlotNotInUseError, "element 2"),
        (lambda p: p.invalidate([1 << 40]), SlotNotInUseError, "1099511627776"),
        (lambda p: p.read_many([0], np.empty((2, PAGE), np.uint8)), SwapValueError, "8192 bytes for 1 pages"),
        (lambda p: p.read_many([0], b"x" * PAGE), SwapValueError, "writable"),
        (lambda p: p.read_many([0], np.empty(2 * PAGE, np.uint8)[::2]), SwapValueError, "contiguous"),
        (lambda p: p.write_many(bytes(5000)), SwapValueError, "5000 bytes"),
        (lambda p: p.write_many(bytes(PAGE), [3]), SwapValueError, "expected None"),
        (lambda p: p.write_many(7), SwapValueError, "buffer"),
        (lambda p: p.read_many(["a"]), SwapValueError, "numbers|array"),
        (lambda p: p.reclaim_candidates(-1), SwapValueError, "-1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, error, message):
    pool = pool_of()
    pages = mix(3, 15, {"text": 1.0})
    numbers = pool.write_folio(pages)
    before = pool.counts()
    with pytest.raises(error, match=message):
        call(pool)
    after = pool.counts()
    assert {k: v for k, v in after.items() if k != "loads"} == {k: v for k, v in before.items() if k != "loads"}
    assert (pool.read_many(numbers) == pages).all()
    pool.check()


def test_a_batch_stops_at_its_first_bad_element():
    pool = pool_of()
    numbers = pool.write_folio(mix(5, 16, {"text": 1.0}))
    with pytest.raises(SlotNotInUseError) as caught:
        pool.invalidate([numbers[0], numbers[1], numbers[0], numbers[2]])
    assert (caught.value.index, caught.value.done) == (2, 2)
    assert pool.debugfs()["stored_pages"] == 3
    with pytest.raises(SlotNotInUseError) as caught:
        pool.read_many([numbers[2], 99, numbers[3]], exclusive=True)
    assert caught.value.index == 1
    assert pool.debugfs()["stored_pages"] == 2
    pool.check()


def test_empty_batches():
    pool = pool_of()
    assert pool.write_many(b"").blocks.size == pool.write_folio(np.empty((0, PAGE), np.uint8)).size == 0
    assert pool.read_many([]).shape == (0, PAGE)
    pool.invalidate([])
    pool.check()


class Broken:
    """Compresses well and forgets; fails to compress pages that begin with an F."""

    library = "broken"

    def pack(self, src, dst):
        if src[0] == ord("F"):
            raise ValueError
        dst[:100] = bytes(100)
        return 100

    def unpack(self, src, dst):
        raise ValueError


def test_a_codec_that_fails():
    from swaptable.backends._codec import Codec

    pool = pool_of(codec=Codec("lz4", adapter=Broken()))
    numbers, errors = pool.write_many(b"F" + bytes(PAGE - 1) + b"G" + bytes(PAGE - 1))
    assert errors.tolist() == [errno.EIO, 0]
    for exclusive in (False, True):
        with pytest.raises(SwapError) as caught:
            pool.read_many(numbers[1:], exclusive=exclusive)
        assert caught.value.errno == errno.EIO
    assert (pool.debugfs()["reject_compress_fail"], pool.debugfs()["decompress_fail"]) == (1, 2)
    assert pool.debugfs()["stored_pages"] == 1      # kept although it cannot be read
    pool.check()
    with pytest.raises(CheckError, match="number 0"):
        pool.check(deep=True)


def test_debugfs_has_the_kernels_names():
    pool = pool_of()
    pool.reclaim_failed()
    assert pool.debugfs() == {
        "pool_limit_hit": 0, "pool_total_size": 0, "stored_pages": 0, "stored_incompressible_pages": 0,
        "written_back_pages": 0, "reject_alloc_fail": 0, "reject_compress_fail": 0, "reject_compress_poor": 0,
        "reject_reclaim_fail": 1, "decompress_fail": 0,
    }
    assert isinstance(pool, Backend)


def test_bytes_are_those_that_the_system_has():
    """What memory() says of a pool is what came into memory while it was filled."""
    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * PAGE

    pages = mix(500, 17, {"text": 1.0})
    pool = pool_of()
    pool.write_many(pages)          # the codec's memory, and what Python needs once
    before = resident(), pool.memory()["total"]
    for _ in range(20):
        pool.write_many(pages)
    grown, counted = resident() - before[0], pool.memory()["total"] - before[1]
    assert counted > 10 * MIB
    assert abs(grown - counted) < 0.1 * counted
    pool.check()


class Machine(RuleBasedStateMachine):
    """The pool against a dict of bytes."""

    def __init__(self):
        super().__init__()
        self.pool, self.held, self.seed = pool_of(limit=60 * PAGE, codec="lz4"), {}, 0

    @rule(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=30))
    def store(self, kinds):
        self.seed += 1
        rng = np.random.default_rng(self.seed)
        pages = [KINDS[kind](rng) for kind in kinds]
        numbers, errors = self.pool.write_many(b"".join(pages))
        for number, error, page, kind in zip(numbers.tolist(), errors.tolist(), pages, kinds, strict=True):
            if error == 0:
                assert number not in self.held
                self.held[number] = page
            else:
                assert error in (errno.E2BIG, errno.ENOSPC)
                assert error != errno.E2BIG or kind in ("noise", "records")

    @rule(kinds=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=16))
    def store_folio(self, kinds):
        self.seed += 1
        rng = np.random.default_rng(self.seed)
        pages = [KINDS[kind](rng) for kind in kinds]
        try:
            numbers = self.pool.write_folio(b"".join(pages))
        except (PageRefusedError, SwapFullError):
            return
        self.held.update(zip(numbers.tolist(), pages, strict=True))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), exclusive=st.booleans())
    def load(self, data, exclusive):
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.held)), unique=True))
        for number, page in zip(numbers, self.pool.read_many(numbers, exclusive=exclusive), strict=True):
            assert page.tobytes() == self.held[number]
            if exclusive:
                del self.held[number]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def drop(self, data):
        numbers = data.draw(st.lists(st.sampled_from(sorted(self.held)), unique=True))
        self.pool.invalidate(numbers)
        for number in numbers:
            del self.held[number]

    @rule(number=st.integers(-2, 500))
    def load_one(self, number):
        if number in self.held:
            assert self.pool.read_many([number]).tobytes() == self.held[number]
        else:
            with pytest.raises(SlotNotInUseError):
                self.pool.read_many([number])

    @rule(n=st.integers(0, 40))
    def reclaim(self, n):
        chosen = self.pool.reclaim_candidates(n).tolist()
        assert len(chosen) == len(set(chosen)) <= n
        assert set(chosen) <= set(self.held)

    @rule()
    def compact(self):
        self.pool.compact()

    @rule()
    def trim(self):
        self.pool.trim()

    @invariant()
    def holds(self):
        self.pool.check()
        memory = self.pool.memory()
        assert memory["pool"] + memory["spare"] <= 60 * PAGE
        assert self.pool.debugfs()["stored_pages"] == len(self.held)

    def teardown(self):
        for number, page in self.held.items():
            assert self.pool.read_many([number]).tobytes() == page
        self.pool.check(deep=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_lengths_and_numbers():
    """What each page takes, and a pool of so many pages."""
    pool = pool_of(numbers=3, keep_incompressible=True)
    numbers, errors = pool.write_many(np.stack([one("text"), one("zero"), one("noise"), one("text", 1)]))
    assert errors.tolist() == [0, 0, 0, errno.ENOSPC]
    lengths = pool.lengths([*numbers[:3], 3, -1])
    assert 0 < lengths[0] < PAGE and lengths[1:].tolist() == [0, PAGE, -1, -1]
    assert lengths[0] == pool.read_blobs(numbers[:1])[1][0]
    pool.invalidate(numbers[:1])
    assert pool.lengths(numbers[:1])[0] == -1
    pool.check()
