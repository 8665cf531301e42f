# Replay speed: the machine alone, with each design, and against libCacheSim's compiled LRU.
# May import everything; libcachesim where it is installed.
# Used by asv, by `python -m benchmarks replay`, and by `python benchmarks/bench_replay.py` for a table of all designs.
"""Events a second of the replay, on the shipped trace and on a synthetic zipf one.

The zipf trace is made here (1e6 pages, exponent 1, 30% stores, seed 1): it shows how the machine
behaves when every structure misses the caches, not how programs behave.
"""

import os
import sys
import tempfile
import time

import numpy as np

from swaptable._workload import load
from swaptable.replay import DESIGNS, replay

TRACES = ("shipped", "zipf")
EVENTS = 5_000_000
MEMORY = 0.5


def zipf(events=EVENTS, pages=1_000_000, exponent=1.0, seed=1):
    """(page, write): pages drawn by a power law, their numbers shuffled, 30% stores."""
    rng = np.random.default_rng(seed)
    weight = np.cumsum(1 / np.arange(1, pages + 1) ** exponent)
    rank = np.searchsorted(weight, rng.random(events) * weight[-1])
    return rng.permutation(pages)[rank].astype(np.uint64), rng.random(events) < 0.3


def accesses(name):
    """The arrays of a trace by its name."""
    if name == "zipf":
        return zipf()
    from swaptable.trace import default_trace, open_trace

    return open_trace(default_trace()).load()


def oracle(page, path):
    """The accesses as libCacheSim reads them from *path*."""
    record = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
    rows = np.zeros(len(page), record)
    rows["time"], rows["id"], rows["size"], rows["next"] = np.arange(len(page)) >> 16, page + 1, 1, -1
    rows.tofile(path)


def rows(repeats=9):
    """d1 and d2: the machine with the whole swap state of the plain swap table against libCacheSim's LRU.

    The machine alone is a case of the same repeats, and is subtracted for what the design takes of an event.
    """
    from .measure import Row, interleave

    try:
        import libcachesim as lcs
    except ImportError:
        return [Row("d1", "replay", float("nan"), "x", note="skipped: libcachesim is not installed")]
    found = []
    for trace in TRACES:
        page, write = accesses(trace)
        work = load((page, write))
        with tempfile.NamedTemporaryFile(suffix=".oracleGeneral") as file:
            oracle(page, file.name)
            series = interleave(compiled_cases(lcs, work, file.name), repeats)
        what, ns = f"replay, compiled, {trace} trace, 4K folios", series.ns("swap-table")
        own = float(np.median(np.array(series["swap-table"]) - np.array(series["null"])))
        found.append(Row(f"d1 {trace}", what, series.ratio("LRU", "swap-table"), "x", ns, "libcachesim LRU",
                         series.ns("LRU"), 2.5, 5, higher=True, note=f"{1e3 / ns:.1f} M events/s"))  # fmt: skip
        found.append(Row(f"d1 {trace} own", "of that the design, without the machine", own, "ns", own, "machine alone",
                         series.ns("null")))  # fmt: skip
    series = interleave(called_cases(lcs), repeats)
    ns = series.ns("swap-table")
    found.append(Row("d2", "replay, a Python call an event", series.ratio("LRU", "swap-table"), "x", ns,
                     "libcachesim, a Request", series.ns("LRU"), 1.5, higher=True,
                     note=f"{1e3 / ns:.2f} M events/s, at least 1.5"))  # fmt: skip
    return found


def compiled_cases(lcs, work, path):
    """The machine with swap-table, the machine alone and libCacheSim's LRU: nanoseconds an event."""
    memory = replay(work, "null", memory=MEMORY).memory_pages
    n = len(work.events)
    return {
        "swap-table": (lambda: replay(work, "swap-table", memory=MEMORY).seconds * 1e9 / n, 0),
        "null": (lambda: replay(work, "null", memory=MEMORY).seconds * 1e9 / n, 0),
        "LRU": (lambda: _libcachesim_run(lcs, path, memory) * 1e9 / n, 0),
    }


def called_cases(lcs):
    """The same events by a Python call each; machines and caches are new for each run."""
    from swaptable import designs
    from swaptable._replay import Machine

    work = load(zipf(300_000, 30_000))
    calls = [(event >> 1, event & 1) for event in work.events.tolist()]

    def ours():
        access = Machine(designs.make("swap-table", 65536), work.pages, work.pages // 2).access
        begin = time.thread_time_ns()
        for page, write in calls:
            access(page, write)
        return (time.thread_time_ns() - begin) / len(calls)

    def theirs():
        # One Request is used again and again, which is the fastest way there is.
        get, request = lcs.LRU(cache_size=work.pages // 2).get, lcs.Request()
        request.obj_size = 1
        begin = time.thread_time_ns()
        for page, _ in calls:
            request.obj_id = page
            get(request)
        return (time.thread_time_ns() - begin) / len(calls)

    return {"swap-table": (ours, 0), "LRU": (theirs, 0)}


def samples(events):
    """Short traces are replayed more often: on a shared machine the fastest run of several is the one to compare."""
    return max(3, min(20, 20_000_000 // events))


def best(work, design):
    """The fastest of some replays."""
    runs = (replay(work, design, memory=MEMORY) for _ in range(samples(len(work.events))))
    return min(runs, key=lambda result: result.seconds)


def with_peer(work, page, design):
    """(our fastest replay, CPU seconds of libCacheSim's fastest LRU of that size), in turns; or ImportError."""
    import libcachesim as lcs

    results, peer = [], []
    with tempfile.NamedTemporaryFile(suffix=".oracleGeneral") as file:
        oracle(page, file.name)
        for _ in range(samples(len(page))):
            results.append(replay(work, design, memory=MEMORY))
            peer.append(_libcachesim_run(lcs, file.name, results[-1].memory_pages))
    return min(results, key=lambda result: result.seconds), min(peer)


def _libcachesim_run(lcs, path, objects):
    # A hash table of twice the objects from the start: growing is not what is compared.
    power = max(16, (2 * objects - 1).bit_length())
    params = lcs.ReaderInitParam(ignore_obj_size=True)
    reader = lcs.TraceReader(path, lcs.TraceType.ORACLE_GENERAL_TRACE, params)
    cache = lcs.LRU(cache_size=objects, hashpower=power)
    start = time.thread_time()
    cache.process_trace(reader)
    return time.thread_time() - start


class Replay:
    """Every design on every trace, folios of a page."""

    params = (TRACES, ("null", *DESIGNS))
    param_names = ("trace", "design")
    timeout = 300

    def setup(self, trace, design):
        self.work = load(accesses(trace))

    def time_replay(self, trace, design):
        replay(self.work, design, memory=MEMORY)

    def track_events_per_second(self, trace, design):
        return best(self.work, design).events_per_second

    track_events_per_second.unit = "events/s"

    def track_bytes_per_slot(self, trace, design):
        return best(self.work, design).bytes_per_slot

    track_bytes_per_slot.unit = "bytes/slot"


class Libcachesim:
    """The same accesses, cache size and run as libCacheSim's LRU."""

    params = Replay.params
    param_names = Replay.param_names
    timeout = 300

    def setup(self, trace, design):
        self.page, self.write = accesses(trace)
        start = time.thread_time()
        self.work = load((self.page, self.write))
        self.loading = time.thread_time() - start
        try:
            self.result, self.peer = with_peer(self.work, self.page, design)
        except ImportError:
            # asv's way to say that there is nothing to measure here.
            raise NotImplementedError("libcachesim is not installed") from None

    def track_ratio_vs_libcachesim(self, trace, design):
        return self.peer / self.result.seconds

    def track_ratio_with_numbering(self, trace, design):
        # libCacheSim hashes every page as it goes; the replay numbers the pages first, once for all designs.
        return self.peer / (self.result.seconds + self.loading)

    track_ratio_vs_libcachesim.unit = track_ratio_with_numbering.unit = "x"


class OneCallAnEvent:
    """Machine.access(): an event for each Python call."""

    def setup(self):
        from swaptable import designs
        from swaptable._replay import Machine

        self.work = load(zipf(300_000, 30_000))
        self.machine = Machine(designs.make("swap-table", 65536), self.work.pages, self.work.pages // 2)
        self.calls = [(event >> 1, event & 1) for event in self.work.events.tolist()]

    def time_access(self):
        access = self.machine.access
        for page, write in self.calls:
            access(page, write)


def main():
    print("trace    design      M events/s  LRU M/s  faults  x LRU  x LRU, numbering too")
    for trace in sys.argv[1:] or TRACES:
        for design in Replay.params[1]:
            bench = Libcachesim()
            bench.setup(trace, design)
            speed = bench.result.events_per_second / 1e6
            faults = bench.result.vmstat["pgfault"] / bench.result.events
            ratios = bench.peer / bench.result.seconds, bench.peer / (bench.result.seconds + bench.loading)
            lru = bench.result.events / bench.peer / 1e6
            print(f"{trace:8} {design:11} {speed:10.1f} {lru:8.1f} {faults:7.3f} {ratios[0]:6.1f} {ratios[1]:21.1f}")
    bench = OneCallAnEvent()
    bench.setup()
    start = time.perf_counter()
    bench.time_access()
    print(f"one Python call an event: {len(bench.calls) / (time.perf_counter() - start) / 1e6:.1f} M events/s")
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")


if __name__ == "__main__":
    main()
