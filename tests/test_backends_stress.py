# Backends under several threads at once, from a barrier on; every page by its contents, check() at the end.
# Imports the package, page_mix.
# Used by pytest, and by the sanitizers' builds.
import threading

import numpy as np
import pytest
from page_mix import mix

from swaptable.backends.file import FileBackend
from swaptable.backends.memory import MemoryBackend
from swaptable.backends.zram import ZramBackend
from swaptable.backends.zswap import ZswapBackend
from swaptable.errors import SlotNotInUseError

MIB = 1 << 20


def race(bodies):
    """Run *bodies* at once, from a barrier on; the first error of each thread."""
    barrier, failed = threading.Barrier(len(bodies)), []

    def run(body):
        barrier.wait()
        try:
            body()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize(("codec", "limit"), [("lz4", 64 * MIB), ("lz4", 2 * MIB), ("lzo", 64 * MIB)])
def test_zswap(codec, limit):
    """Three threads churn pages of their own, one reads pages of all, one compacts, one takes candidates."""
    pool, running = ZswapBackend(codec, limit=limit), [3]
    shared_pages = mix(64, 18, {"text": 1.0})
    shared = pool.write_folio(shared_pages)
    sources = [mix(400, 20 + k) for k in range(3)]

    def churn(k):
        held, rng = {}, np.random.default_rng(k)
        try:
            for _ in range(60):
                some = rng.integers(0, 400, 40)
                numbers, _errors = pool.write_many(sources[k][some])
                held.update({n: i for n, i in zip(numbers.tolist(), some.tolist(), strict=True) if n >= 0})
                mine = rng.permutation(list(held))[: rng.integers(0, len(held) + 1)]
                exclusive = bool(rng.integers(2))
                loaded = pool.read_many(mine, exclusive=exclusive)
                assert (loaded == sources[k][[held[n] for n in mine.tolist()]]).all()
                if not exclusive:
                    pool.invalidate(mine)
                for n in mine.tolist():
                    del held[n]
            pool.invalidate(list(held))
        finally:
            running[0] -= 1

    def read():
        while running[0] > 0:
            assert (pool.read_many(shared) == shared_pages).all()

    def shrink():
        while running[0] > 0:
            pool.compact()
            pool.reclaim_candidates(100)

    race([lambda k=k: churn(k) for k in range(3)] + [read, shrink])
    pool.check(deep=True)
    assert pool.debugfs()["stored_pages"] == 64
    assert pool.memory()["pool"] + pool.memory()["spare"] <= limit


def test_zswap_gives_a_page_to_one_only():
    """Of many that load a page exclusively one gets it."""
    pool, got = ZswapBackend(limit=MIB), []
    page = mix(1, 19, {"text": 1.0})[0].tobytes()
    for _ in range(50):
        number = pool.write_folio(page)

        def take(number=number):
            try:
                got.append(pool.read_many(number, exclusive=True).tobytes() == page)
            except SlotNotInUseError:
                got.append(None)

        race([take] * 4)
    assert got.count(True) == 50
    assert got.count(None) == 150
    pool.check()


def test_zram():
    """Three threads with blocks of their own, one that writes everything back again and again, and compacts."""
    zram, running = ZramBackend(300, backing=MemoryBackend(200)), [3]

    def churn(k):
        rng, mine, held = np.random.default_rng(k), np.arange(k, 300, 3), {}
        pages = mix(200, 30 + k)
        try:
            for _ in range(60):
                some = rng.permutation(mine)[:25]
                which = rng.integers(0, 200, 25)
                assert not zram.write_many(pages[which], some).errors.any()
                held.update(zip(some.tolist(), which.tolist(), strict=True))
                wanted = rng.permutation(list(held))[:40]
                assert (zram.read_many(wanted) == pages[[held[b] for b in wanted.tolist()]]).all()
                zram.invalidate(wanted[:5])
                for block in wanted[:5].tolist():
                    del held[block]
        finally:
            running[0] -= 1

    def write_back():
        while running[0] > 0:
            zram.mark_idle()
            zram.writeback("all", 50)
            zram.compact()

    race([lambda k=k: churn(k) for k in range(3)] + [write_back])
    zram.check()


def test_zram_with_writers_of_one_block():
    """The last of two writers wins; what the other one stored is gone."""
    zram = ZramBackend(16, backing=MemoryBackend(8))
    pages = mix(50, 40)
    known = {page.tobytes() for page in pages} | {bytes(4096)}

    def write(k):
        rng = np.random.default_rng(k)
        for _ in range(200):
            zram.write_many(pages[rng.integers(0, 50, 8)], rng.integers(0, 16, 8))
            zram.invalidate(rng.integers(0, 16, 2))

    def read():
        for _ in range(100):
            assert {page.tobytes() for page in zram.read_many(np.arange(16))} <= known
            zram.writeback("all")

    race([lambda: write(1), lambda: write(2), read])
    zram.check()


@pytest.mark.parametrize("direct", [False, None], ids=["buffered", "direct"])
def test_file(tmp_path, direct):
    """Four threads with blocks of their own."""
    with FileBackend(tmp_path / "swap", 256, create=True, direct=direct) as file:

        def body(k):
            rng, mine = np.random.default_rng(k), np.arange(k, 256, 4)
            for round_ in range(25):
                some = rng.permutation(mine)[:20]
                pages = mix(20, 100 * k + round_, {"noise": 1.0})
                file.write_many(pages, some)
                assert (file.read_many(some) == pages).all()

        race([lambda k=k: body(k) for k in range(4)])
        assert file.counts()["pages_written"] == 4 * 25 * 20
        file.check()


def test_memory():
    """Four threads with blocks of their own."""
    store = MemoryBackend(400)

    def body(k):
        for round_ in range(30):
            pages = mix(100, 1000 * k + round_)
            store.write_many(pages, 100 * k)
            assert (store.read_many(np.arange(100 * k, 100 * k + 100)) == pages).all()

    race([lambda k=k: body(k) for k in range(4)])
    store.check()
