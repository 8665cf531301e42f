# The fragmentation test against what a running kernel printed: fallback percentages, the tool's lines, refusals.
# May import the package.
# Used by pytest; one seed by default, several under the `long` marker.
import re

import pytest

from swaptable import SwapValueError
from swaptable.thp_test import Round, thp_test

MIB = 1 << 20
# Linux 6.18 on zram: options, then percent of all rounds, of rounds 1-10 and of rounds 91-100.
KERNEL = {
    "plain": ({}, 0.00, 0.00, 0.00),
    "-a": ({"aligned": True}, 0.00, 0.00, 0.00),
    "-n": ({"no_large_swapin": True}, 93.13, 75.28, 94.29),
    "-s": ({"small": True}, 0.00, 0.00, 0.00),
    "-s -a": ({"small": True, "aligned": True}, 0.00, 0.00, 0.00),
    "-s -n": ({"small": True, "no_large_swapin": True}, 97.26, 83.00, 99.24),
    "63 MiB": ({"memory": 63 * MIB}, 0.35, 0.32, 0.40),
    "63 MiB -a": ({"memory": 63 * MIB, "aligned": True}, 0.86, 0.85, 0.93),
    "63 MiB -n": ({"memory": 63 * MIB, "no_large_swapin": True}, 96.79, 81.46, 98.38),
}


def percent(rounds):
    swpout, fallback = sum(r.swpout for r in rounds), sum(r.fallback for r in rounds)
    return 100 * fallback / (swpout + fallback)


def compare(mode, seed):
    options, *kernel = KERNEL[mode]
    rounds = thp_test(seed=seed, **options)
    ours = [percent(rounds), percent(rounds[:10]), percent(rounds[-10:])]
    print(f"{mode}, seed {seed}: {', '.join(f'{p:.2f}' for p in ours)} %; the kernel {kernel}")
    assert ours == pytest.approx(kernel, abs=1.5)
    if options.get("memory", 60 * MIB) == 60 * MIB:  # 960 * (1 - (1 - 1/960) ** 256)
        assert sum(r.dropped for r in rounds) / len(rounds) == pytest.approx(224.8, abs=2)


@pytest.mark.parametrize("mode", KERNEL)
def test_fallback_is_the_kernels(mode):
    compare(mode, seed=1)


@pytest.mark.parametrize("mode", KERNEL)
def test_no_folio_is_split_while_blocks_are_free(mode):
    """Contiguous: the same work without one fallback; want of blocks would be counted apart, and there is none here."""
    options = KERNEL[mode][0]
    rounds = thp_test(seed=1, contiguous=True, **options)
    assert sum(r.fallback for r in rounds) == 0
    assert sum(r.enospc for r in rounds) == 0
    if percent(thp_test(seed=1, **options)) > 1:
        assert sum(r.past for r in rounds) > 100
        assert 1 <= sum(r.extents for r in rounds) / sum(r.past for r in rounds) <= 16


def test_want_of_blocks_is_counted_apart():
    """More memory than swap: what does not fit is no fallback."""
    rounds = thp_test(seed=1, contiguous=True, no_large_swapin=True, device=32 * MIB, memory=36 * MIB, iterations=5)
    assert sum(r.enospc for r in rounds) > 0
    assert sum(r.fallback for r in rounds) == 0


@pytest.mark.long
@pytest.mark.parametrize("seed", [2, 3, 4])
@pytest.mark.parametrize("mode", KERNEL)
def test_fallback_is_the_kernels_for_other_seeds(mode, seed):
    compare(mode, seed)


def test_lines_are_the_tools():
    assert str(Round(3, 200, 25, 225)) == (
        "Iteration 3: swpout inc: 200, swpout fallback inc: 25, Fallback percentage: 11.11%"
    )
    assert str(Round(1, 0, 0, 0)).endswith("Fallback percentage: 0.00%")
    assert re.fullmatch(r"Iteration 1: swpout inc: \d+, .*%", str(thp_test(iterations=1)[0]))


def test_the_same_seed_gives_the_same_rounds():
    assert thp_test(iterations=2, seed=5) == thp_test(iterations=2, seed=5) != thp_test(iterations=2, seed=6)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"memory": 1000}, "memory 1000"), ({"device": -65536}, "device -65536"), ({"iterations": 0}, "iterations 0")],
)
def test_refusals(options, named):
    with pytest.raises(SwapValueError, match=named):
        thp_test(**options)
