# Contents of pages: from a file, or a seeded imitation of a stated mix; each page at each time has its own.
# May import errors and numpy.
# Used by swaprun.py and the benchmarks.
"""What a page of a program holds, so that each page that comes back can be compared with what it should be."""

from __future__ import annotations

import errno
import os

import numpy as np
from numpy.typing import NDArray

from swaptable.errors import SwapValueError

PAGE, WORDS = 4096, 512
KINDS = ("zero", "same", "compressible", "random")
# Same-filled 10 to 20 %, mostly zeros (Usama Arif, 2024); the rest is a guess that the user can replace.
DEFAULT_MIX = {"zero": 0.12, "same": 0.01, "compressible": 0.79, "random": 0.08}
POOL = 1024
STAMP = 300  # the word where a page says which it is
_ODD = np.uint64(0x9E3779B97F4A7C15)

__all__ = ["DEFAULT_MIX", "Contents", "generate", "parse_mix", "read_pages"]


def parse_mix(text: str) -> dict[str, float]:
    """Shares of kinds of pages from text.

    >>> parse_mix("zero=20,compressible=60,random=20")
    {'zero': 0.2, 'same': 0.0, 'compressible': 0.6, 'random': 0.2}
    """
    shares = dict.fromkeys(KINDS, 0.0)
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in shares or not value.replace(".", "", 1).isdigit():
            raise SwapValueError(
                errno.EINVAL, f"mix {text!r}: expected shares such as zero=20,same=1,compressible=70,random=9"
            )
        shares[name] = float(value)
    total = sum(shares.values())
    if not total:
        raise SwapValueError(errno.EINVAL, f"mix {text!r}: expected one share above 0")
    return {name: share / total for name, share in shares.items()}


def _compressible(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Words of a small vocabulary, or small integers in 8 bytes each, with a random share of noise."""
    if rng.random() < 0.5:
        words = rng.integers(97, 123, (200, 7), np.uint8)
        words[:, 6] = 32
        return words[rng.integers(0, 200, PAGE // 7 + 1)].reshape(-1)[:PAGE]
    page = rng.integers(0, 1000, WORDS, dtype=np.uint64).view(np.uint8).copy()
    noisy = int(rng.integers(0, PAGE * 3 // 4))
    page[:noisy] = rng.integers(0, 256, noisy, np.uint8)
    return page


def generate(n: int = POOL, mix: dict[str, float] | None = None, seed: int = 0) -> NDArray[np.uint8]:
    """*n* pages of a mix, (n, 4096); each kind has its share to the page."""
    shares = DEFAULT_MIX if mix is None else mix
    rng = np.random.default_rng(seed)
    ends = np.round(np.cumsum([shares[kind] for kind in KINDS]) * n).astype(int)
    pages = np.zeros((n, PAGE), np.uint8)
    for k in range(ends[0], ends[1]):
        pages[k] = int(rng.integers(1, 256))
    for k in range(ends[1], ends[2]):
        pages[k] = _compressible(rng)
    pages[ends[2] :] = rng.integers(0, 256, (n - ends[2], PAGE), np.uint8)
    return pages[rng.permutation(n)]


def read_pages(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The whole pages of a file, for example of a core dump; what is left over at its end is not used."""
    data = np.fromfile(path, np.uint8)
    if len(data) < PAGE:
        raise SwapValueError(
            errno.EINVAL, f"{os.fspath(path)} has {len(data)} bytes; expected a page of {PAGE} at least"
        )
    return data[: len(data) // PAGE * PAGE].reshape(-1, PAGE)


class Contents:
    """What each page of a program is after each of its stores.

    Parameters
    ----------
    pool : ndarray of uint8, shape (n, 4096)
        Page *p* is made from one of these. A page of zeros stays one, a page of one word is filled with another one; in
        any other 16 bytes say which page it is, and which of its versions.
    """

    def __init__(self, pool: NDArray[np.uint8]) -> None:
        self.pool = np.ascontiguousarray(pool)
        words = self.pool.view(np.uint64).reshape(len(pool), WORDS)
        self.same = (words == words[:, :1]).all(axis=1)
        self.zero = self.same & (words[:, 0] == 0)

    def of(self, pages: NDArray[np.int64], versions: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Contents of *pages*, (n, 4096)."""
        spread = pages.astype(np.uint64) * _ODD >> np.uint64(20)
        which = (spread % np.uint64(len(self.pool))).astype(np.int64)
        out = self.pool[which]
        words = out.view(np.uint64).reshape(len(out), WORDS)
        same, zero = self.same[which], self.zero[which]
        words[~same, STAMP] = pages[~same]
        words[~same, STAMP + 1] = versions[~same]
        filled = same & ~zero
        words[filled] = ((pages[filled] << 20) + versions[filled] + 1).astype(np.uint64)[:, None]
        return out
