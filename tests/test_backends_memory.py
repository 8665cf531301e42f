# Plain bytes with modelled time.
# Imports the package, page_mix, hypothesis.
# Used by pytest.
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_mix import PAGE, digest, mix

from swaptable.backends import Backend
from swaptable.backends.memory import MemoryBackend
from swaptable.errors import SwapValueError


def test_churn():
    store, held = MemoryBackend(64), {}
    rng = np.random.default_rng(1)
    for round_ in range(300):
        blocks = rng.permutation(64)[: rng.integers(1, 20)]
        if round_ % 3 == 0:
            store.invalidate(blocks)
            held.update(dict.fromkeys(blocks.tolist(), digest(bytes(PAGE))))
        else:
            pages = mix(len(blocks), round_)
            assert store.write_many(pages, blocks).blocks.tolist() == blocks.tolist()
            held.update(zip(blocks.tolist(), map(digest, pages), strict=True))
        for block, page in zip(held, store.read_many(list(held)), strict=True):
            assert digest(page) == held[block]
    assert store.memory()["held"] <= 64 * PAGE
    store.invalidate(np.arange(64))
    assert store.memory() == {"held": 0, "marks": 64, "total": 64}
    store.check()


@settings(deadline=None)
@given(st.lists(st.integers(0, 99), unique=True, min_size=1), st.integers(0, 10**6), st.integers(1, 10**10))
def test_time_is_latency_by_run_and_bandwidth_by_byte(blocks, latency, bandwidth):
    store = MemoryBackend(100, read_ns=latency, write_ns=2 * latency, bytes_per_second=bandwidth)
    runs = sum(block - 1 not in blocks for block in blocks)
    store.write_many(bytes(len(blocks) * PAGE), blocks)
    store.read_many(blocks)
    moving = len(blocks) * PAGE * 10**9 // bandwidth
    assert store.read_busy_ns == runs * latency + moving == store.took(runs, len(blocks), False)
    assert store.written_busy_ns == 2 * runs * latency + moving


def test_real_sleep():
    store = MemoryBackend(4, read_ns=20_000_000, sleep=True)
    begin = time.perf_counter()
    store.read_many([0, 2])
    assert time.perf_counter() - begin >= 0.04


def test_exclusive_and_runs():
    store = MemoryBackend(32)
    pages = mix(8, 3)
    assert store.write_folio(pages, 8).tolist() == list(range(8, 16))
    out = np.empty_like(pages)
    assert store.read_folio(8, out, exclusive=True) is out
    assert (out == pages).all()
    assert not store.read_many(np.arange(8, 16)).any()
    assert isinstance(store, Backend)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.write_many(bytes(PAGE), [32]), "block 32"),
        (lambda b: b.write_many(bytes(PAGE), [-1]), "block -1"),
        (lambda b: b.write_many(bytes(PAGE), [1, 2]), "2 blocks for 1"),
        (lambda b: b.write_many(bytes(PAGE)), "does not choose"),
        (lambda b: b.write_many(bytes(100), [1]), "100 bytes"),
        (lambda b: b.read_many([0.5]), "float64"),
        (lambda b: b.read_many([[1]]), r"shape \(1, 1\)"),
        (lambda b: b.invalidate([40]), "block 40"),
        (lambda b: b.read_many(np.array([1 << 63], np.uint64)), "9223372036854775808"),
        (lambda b: MemoryBackend(0), "blocks 0"),
        (lambda b: MemoryBackend(1, read_ns=-1), "read_ns -1"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(call, message):
    store = MemoryBackend(32)
    store.write_many(b"x" * 32 * PAGE, 0)
    with pytest.raises(SwapValueError, match=message):
        call(store)
    assert (store.read_many(np.arange(32)) == ord("x")).all()
