# A swap space beside a dict of what its pages are, driven at random.
# Imports the package, page_mix, numpy, pytest.
# Used by the tests of the swap space: random runs, the state machine, faults.
import errno

import numpy as np
import pytest
from page_mix import PAGE, mix

from swaptable.errors import SlotNotInUseError, SwapError, SwapValueError, TransferError
from swaptable.readahead import Vma
from swaptable.space import SwapSpace
from swaptable.swapfile import mkswap

MIB = 1 << 20
POOL = mix(1500, 11)


def content(numbers):
    """Pages by number: one of the mix, with the number stamped on it unless it is a page of zeros."""
    numbers = np.asarray(numbers, np.int64)
    pages = POOL[numbers % len(POOL)].copy()
    stamp = pages.any(axis=1)
    pages.view(np.int64).reshape(len(pages), PAGE // 8)[stamp, 300] = numbers[stamp]
    return pages


class Twin:
    """A space, and for each entry the number of its page and its users.

    Parameters
    ----------
    folder : path
        For swap files.
    rng : Generator
    forgiving : bool
        Transfers may fail: what raises must say what it left undone.
    """

    def __init__(self, folder, rng, forgiving=False, files=(3, 10), pool=2 * MIB, group=None, **options):
        self.folder, self.rng, self.forgiving, self.group = folder, rng, forgiving, group
        self.space = SwapSpace(cache_pages=64, **options)
        self.space.add_zswap("lz4", limit=pool, priority=100)
        self.space.swapon(None, size=1 << 30, grow=True, priority=50)
        self.files = [folder / f"file{k}" for k in range(len(files))]
        for k, (path, size) in enumerate(zip(self.files, files, strict=True)):
            mkswap(path, size * MIB)
            self.space.swapon(path, priority=60 - 20 * k, name=path.name)
        self.pages = {}  # entry: [number, users]
        self.next = 1
        self.reported = 0

    # ---- what there is

    def pick(self, most):
        """Some entries, each once."""
        entries = np.fromiter(self.pages, np.int64, len(self.pages))
        return self.rng.permutation(entries)[: self.rng.integers(0, most + 1)] if len(entries) else entries

    def expected(self, entries):
        return content([self.pages[e][0] for e in entries.tolist()])

    def give_up(self, entries):
        for entry in entries.tolist():
            self.pages[entry][1] -= 1
            if not self.pages[entry][1]:
                del self.pages[entry]

    def numbers(self, n):
        self.next += n
        return np.arange(self.next - n, self.next)

    # ---- what is done

    def out(self, n=200, order=0):
        numbers = self.numbers(n << order)
        got = self.space.swap_out_many(content(numbers), order=order, memcg=self.group)
        assert ((got.entries >= 0) == (got.errors == 0)).all()
        assert set(got.errors.tolist()) <= {0, errno.ENOSPC, errno.ENOMEM}
        for entry, number in zip(got.entries.tolist(), numbers.tolist(), strict=True):
            if entry >= 0:
                assert entry not in self.pages
                self.pages[entry] = [number, 1]
        return got

    def _loaded(self, call, entries):
        """The pages that a call brought, and which they are; what cannot be read is as it was."""
        try:
            pages = call(entries)
            good = np.ones(len(entries), bool)
        except TransferError as e:
            assert self.forgiving
            self.reported += 1
            pages, good = e.pages, e.errors == 0
        assert (pages[good] == self.expected(entries)[good]).all()
        return good

    def swap_in(self, n=200):
        entries = self.pick(n)
        self.give_up(entries[self._loaded(self.space.swap_in_many, entries)])

    def look(self, n=200):
        self._loaded(self.space.look_many, self.pick(n))

    def free(self, n=200):
        entries = self.pick(n)
        self.space.free_many(entries)
        self.give_up(entries)
        for entry in [e for e in entries[:20].tolist() if e not in self.pages]:
            with pytest.raises((SlotNotInUseError, SwapValueError)):  # the latter: the device of its type is gone
                self.space.look_many([entry])

    def fault(self, n=30):
        """Neighbours, with readahead by slots or by addresses."""
        entries = np.sort(np.fromiter(self.pages, np.int64, len(self.pages)))
        first = int(self.rng.integers(0, max(len(entries) - n, 1)))
        vma = Vma(entries[first : first + n].copy()) if self.rng.random() < 0.7 else None
        for k, entry in enumerate(entries[first : first + n].tolist()):
            expected = self.expected(np.array([entry]))
            try:
                page = self.space.fault(entry, vma, k)
            except TransferError:
                assert self.forgiving
                self.reported += 1
                continue
            assert page == expected.tobytes()
            self.give_up(np.array([entry]))
            if vma is not None and entry not in self.pages:
                vma.entries[k] = -1

    def dup(self, n=50):
        entries = self.pick(n)
        self.space.dup_many(entries)
        for entry in entries.tolist():
            self.pages[entry][1] += 1

    def rewrite(self, n=100):
        """Map pages, store to some of them, and swap them out again; between the two they are ours."""
        entries = self.pick(n)
        single = entries[[self.pages[e][1] == 1 for e in entries.tolist()]]
        try:
            mapped = self.space.map_many(single)
        except TransferError as e:
            assert self.forgiving
            self.reported += 1
            good = e.errors == 0
            mapped, single = type(e.mapped)(*(part[good] for part in e.mapped)), single[good]
        assert (mapped.pages == self.expected(single)).all()
        numbers = np.array([self.pages[e][0] for e in single.tolist()], np.int64)
        dirty = self.rng.random(len(single)) < 0.5
        numbers[dirty] = self.numbers(int(dirty.sum()))
        self.give_up(single)
        got = self.space.swap_out_many(content(numbers), mapped=mapped, dirty=dirty, memcg=self.group)
        for entry, number in zip(got.entries.tolist(), numbers.tolist(), strict=True):
            if entry >= 0:
                assert entry not in self.pages
                self.pages[entry] = [number, 1]
        lost = got.entries < 0
        kept = mapped.entries[lost & (mapped.pfns != 0)]
        self.space.unmap_many(mapped._replace(entries=kept, pfns=mapped.pfns[lost & (mapped.pfns != 0)]))

    def writeback(self, n=200):
        names = [device.name for device in self.space.devices if not device.ghost]
        return self.space.writeback(int(n), tier=str(self.rng.choice(names)) if self.rng.random() < 0.7 else None)

    def prefetch(self, n=200):
        names = [device.name for device in self.space.devices if not device.ghost]
        self.space.prefetch(self.pick(n), str(self.rng.choice(names)))

    def swapoff(self, index):
        """Off, and on again; when there is no room it stays on."""
        path = self.files[index]
        try:
            self.space.swapoff(path.name)
        except SwapError as e:
            if "pages are left" not in str(e) and "blocks from there on" not in str(e):
                raise
            assert self.space.devices[path.name].on
            self.reported += 1
            return False
        assert path.name not in {device.name for device in self.space.devices}
        self.space.swapon(path, priority=60 - 20 * index, name=path.name)
        return True

    def limit(self):
        """A smaller or larger pool."""
        self.space.devices["zswap0"].backend.limit = int(self.rng.integers(MIB // 8, 2 * MIB))

    def tidy(self):
        self.space.shrink_cache(int(self.rng.integers(0, 80)))
        self.space.run_discard()

    def step(self, weights=None):
        """One of all these, at random; when there is much, some goes."""
        if len(self.pages) > 2200:
            self.free(1500)
        steps = [
            self.out, lambda: self.out(12, int(self.rng.integers(1, 6))), self.swap_in, self.look, self.free, self.dup,
            self.rewrite, self.writeback, self.prefetch, lambda: self.swapoff(int(self.rng.integers(len(self.files)))),
            self.limit, self.tidy, self.fault,
        ]  # fmt: skip
        p = np.array(weights or [20, 8, 14, 8, 10, 5, 10, 12, 8, 2, 1, 2, 6], float)
        return steps[int(self.rng.choice(len(steps), p=p / p.sum()))]()

    # ---- what must be true

    def check(self, pages=True):
        """Every invariant; and that every page is there, once: nothing more is stored than the entries say."""
        self.space.check()
        entries = np.fromiter(self.pages, np.int64, len(self.pages))
        if pages:
            assert (self.space.look_many(entries) == self.expected(entries)).all()
        used = sum(device.table.used for device in self.space.devices.every() if device.type >= 0)
        assert used == len(entries), f"{used} slots are used for {len(entries)} entries"

    def empty(self):
        """Give everything up: nothing is left."""
        for entry, (_, users) in list(self.pages.items()):
            for _ in range(users):
                self.space.free(entry)
        self.pages.clear()
        self.space.run_discard()
        self.check()
        for device in self.space.devices:
            assert device.ghost or device.table.usage()["blocks"]["used"] == 0, device.name
        self.space.close()
