# Memory tiering in simulated time: programs, kswapd and a demotion daemon as simpy processes around one SwapSpace.
# Imports swaptable, simpy and numpy.
#
# Run, in an environment with swaptable and simpy:
#
#     python tiering_simpy.py
#     python tiering_simpy.py --programs 8 --seconds 2 --seed 7
#
# Programs touch pages (zipf) in a memory that all share and that is too small. kswapd swaps the coldest out, before the
# memory is full, to the fastest tier with room: CXL memory, then an SSD. When the CXL tier runs full, the daemon writes
# cold pages back to the SSD: the entries that the programs hold stay what they are. A SwapSpace changes at once; the
# time that its devices take (latency and bandwidth of their backends) is waited for in simulated time, one transfer
# after another on each device. Pages have contents, and each that comes back is compared with what was swapped out.
"""Fault latencies of programs on two swap tiers, in simulated time."""

from __future__ import annotations

import argparse
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import simpy

from swaptable.backends.memory import MemoryBackend
from swaptable.space import SwapSpace

PAGE = 4096
BATCH = 32  # pages that one round of reclaim takes: the kernel's SWAP_CLUSTER_MAX
Key = tuple[int, int]  # a program and a page of it
Step = Generator[simpy.Event, Any, Any]


class Machine:
    """A memory, two swap tiers, and what happened; times are nanoseconds."""

    def __init__(self, env: simpy.Environment, frames: int, cxl_pages: int, ssd_pages: int) -> None:
        self.env, self.frames = env, frames
        self.space = SwapSpace()
        self.tiers = {
            "cxl": MemoryBackend(cxl_pages, read_ns=400, write_ns=300, bytes_per_second=16 << 30),
            "ssd": MemoryBackend(ssd_pages, read_ns=80_000, write_ns=20_000, bytes_per_second=2 << 30),
        }
        for priority, (name, backend) in zip((100, 50), self.tiers.items(), strict=True):
            self.space.swapon(backend=backend, priority=priority, name=name)
        self.queue = {name: simpy.Resource(env) for name in self.tiers}
        self.resident: OrderedDict[Key, bytes] = OrderedDict()  # coldest first
        self.entry: dict[Key, int] = {}  # what the page tables hold of pages that are out
        self.latency: defaultdict[str, list[float]] = defaultdict(list)
        self.count: Counter[str] = Counter()

    def timed(self, work: Callable[[], Any]) -> Step:
        """Do *work* now, then wait until the devices that it used have had their time."""
        before = {name: b.read_busy_ns + b.written_busy_ns for name, b in self.tiers.items()}
        result = work()
        for name, backend in self.tiers.items():
            busy = backend.read_busy_ns + backend.written_busy_ns - before[name]
            if busy:
                with self.queue[name].request() as turn:
                    yield turn
                    yield self.env.timeout(busy)
        return result

    def reclaim(self) -> None:
        """Swap the coldest pages out."""
        victims = [self.resident.popitem(last=False) for _ in range(min(BATCH, len(self.resident)))]
        pages = np.frombuffer(b"".join(data for _, data in victims), np.uint8)
        out = self.space.swap_out_many(pages)
        if out.errors.any():
            raise MemoryError(f"swap is full: {np.count_nonzero(out.errors)} of {len(victims)} pages found no place")
        self.entry.update(zip((key for key, _ in victims), out.entries.tolist(), strict=True))

    def fault(self, key: Key) -> Step:
        """Bring a page in: from swap, or as a new one."""
        begin = self.env.now
        while len(self.resident) >= self.frames:
            self.count["direct reclaims"] += 1
            yield from self.timed(self.reclaim)
        entry = self.entry.pop(key, None)
        if entry is None:
            self.resident[key] = contents(key)
            return
        tier = self.space.where([entry])[0]
        self.resident[key] = yield from self.timed(lambda: self.space.swap_in(entry))
        if self.resident[key] != contents(key):
            raise AssertionError(f"page {key} came back from {tier} as another")
        self.latency[tier].append(self.env.now - begin)

    def program(self, number: int, pages: int, seed: int) -> Step:
        """Touch pages: zipf, 2 microseconds of work each."""
        rng = np.random.default_rng([seed, number])
        while True:
            for page in (rng.zipf(1.2, 1000) % pages).tolist():
                key = number, page
                self.count["touches"] += 1
                if key in self.resident:
                    self.resident.move_to_end(key)
                else:
                    yield from self.fault(key)
                yield self.env.timeout(2_000)

    def kswapd(self) -> Step:
        """Keep some frames free, so that faults need not wait for writes."""
        while True:
            if self.frames - len(self.resident) < 4 * BATCH:
                yield from self.timed(self.reclaim)
            else:
                yield self.env.timeout(50_000)

    def demotion(self) -> Step:
        """Write cold pages back from CXL to the SSD while the former is more than 3/4 full."""
        cxl = self.space.devices["cxl"]
        while True:
            yield self.env.timeout(1_000_000)
            while cxl.used > 3 * cxl.usable // 4:
                moved = yield from self.timed(lambda: self.space.writeback(BATCH, "cxl"))
                if moved == 0:
                    break
                self.count["demoted"] += moved


def contents(key: Key) -> bytes:
    """What a page has in it; its own, and nothing that compresses to a number."""
    return np.random.default_rng(key).bytes(PAGE)


def main(argv: list[str] | None = None) -> Machine:
    """Run the programs and print what they waited for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=4)
    parser.add_argument("--pages", type=int, default=3000, help="of each program")
    parser.add_argument("--frames", type=int, default=3000, help="pages of memory for all programs")
    parser.add_argument("--seconds", type=float, default=0.25, help="of simulated time")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    env = simpy.Environment()
    machine = Machine(env, args.frames, cxl_pages=2048, ssd_pages=65536)
    env.process(machine.kswapd())
    env.process(machine.demotion())
    for number in range(args.programs):
        env.process(machine.program(number, args.pages, args.seed))
    env.run(until=int(args.seconds * 1e9))
    machine.space.check()
    print(f"{args.programs} programs, {args.frames} frames, {args.seconds} s of simulated time, seed {args.seed}")
    print(", ".join(f"{name} {n}" for name, n in sorted(machine.count.items())))
    for tier, latencies in sorted(machine.latency.items()):
        p50, p99 = np.percentile(latencies, [50, 99]) / 1000
        print(f"{tier}: {len(latencies)} faults, 50 % within {p50:.1f} us, 99 % within {p99:.1f} us")
    return machine


if __name__ == "__main__":
    main()
