# Pages with contents: a seeded mix of zeros, repeated words, text, records of integers, and noise.
# Imports numpy only.
# Used by the tests of the backends.
import hashlib

import numpy as np

PAGE = 4096
STEMS = ("page", "folio", "slot", "entry", "swap", "lock")
WORDS = [f"{stem}{suffix}".encode() for stem in STEMS for suffix in range(40)]


def text(rng):
    """A page of words: compresses to a third or so."""
    return b" ".join(WORDS[i] for i in rng.integers(0, len(WORDS), 1200))[:PAGE]


def records(rng):
    """A page of small integers in 8 bytes each, with a random share of noise: from a few to all bytes of its size."""
    page = rng.integers(0, 1000, PAGE // 8, dtype=np.uint64).view(np.uint8).copy()
    noisy = int(rng.integers(0, PAGE))
    page[:noisy] = rng.integers(0, 256, noisy)
    return page.tobytes()


def word(rng):
    return rng.integers(0, 256, 8, np.uint8).tobytes() * (PAGE // 8)


def noise(rng):
    return rng.integers(0, 256, PAGE, np.uint8).tobytes()


KINDS = {"zero": lambda rng: bytes(PAGE), "word": word, "text": text, "records": records, "noise": noise}
SHARES = {"zero": 0.12, "word": 0.03, "text": 0.4, "records": 0.37, "noise": 0.08}


def mix(n, seed, shares=SHARES):
    """*n* pages as an array of shape (n, 4096)."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(list(shares), n, p=list(shares.values()))
    pages = np.empty((n, PAGE), np.uint8)
    for i, kind in enumerate(kinds):
        pages[i] = np.frombuffer(KINDS[str(kind)](rng), np.uint8)
    return pages


def digest(page):
    """A hash of a page's bytes."""
    return hashlib.blake2b(bytes(page), digest_size=16).digest()
