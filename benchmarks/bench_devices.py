# One device against eight of equal priority: what the locks of their lists see, and the time.
# May import the package and numpy.
# Used by asv.
import threading
import time

import numpy as np

from swaptable import DeviceList, SwapTable

SLOTS = 1 << 20  # on all devices together
ROUNDS = 6
BATCH = 4096


class Devices:
    """Threads that allocate and free on one list of devices, one CPU each."""

    def __init__(self, devices: int, threads: int) -> None:
        self.tables = [SwapTable(slots=SLOTS // devices) for _ in range(devices)]
        self.list = DeviceList(cpus=threads)
        for table in self.tables:
            self.list.add(table, 0)
        self.threads = threads
        self.ops = 0

    def work(self, cpu: int, start: threading.Barrier) -> None:
        rng = np.random.default_rng(cpu)
        start.wait()
        kinds, slots = self.list.alloc_many(SLOTS // 2 // self.threads, cpu=cpu)
        for _ in range(ROUNDS):
            at = rng.permutation(len(slots))[:BATCH]
            for kind, table in enumerate(self.tables):
                table.free_many(slots[at[kinds[at] == kind]])
            kinds[at], slots[at] = self.list.alloc_many(BATCH, cpu=cpu)
        for kind, table in enumerate(self.tables):
            table.free_many(slots[kinds == kind])

    def run(self) -> float:
        """Seconds for everything; an operation is a slot allocated and freed again."""
        start = threading.Barrier(self.threads + 1)
        workers = [threading.Thread(target=self.work, args=(cpu, start)) for cpu in range(self.threads)]
        for worker in workers:
            worker.start()
        start.wait()
        begin = time.perf_counter()
        for worker in workers:
            worker.join()
        self.ops += SLOTS // 2 + ROUNDS * BATCH * self.threads
        return time.perf_counter() - begin

    def per_op(self, name: str) -> list[float]:
        """A count of each device's list lock, per operation."""
        return [table.stats()[name] / self.ops for table in self.tables]


class EqualPriorities:
    """Rows: 1 and 8 devices, 1 and 2 threads."""

    params = ([1, 8], [1, 2])
    param_names = ("devices", "threads")

    def setup(self, devices: int, threads: int) -> None:
        self.devices = Devices(devices, threads)
        self.devices.run()

    def time_phases(self, devices: int, threads: int) -> None:
        self.devices.run()

    def track_busiest_list_locks(self, devices: int, threads: int) -> float:
        return max(self.devices.per_op("device_list_locks"))

    track_busiest_list_locks.unit = "of one list per slot allocated and freed"

    def track_busiest_list_waits(self, devices: int, threads: int) -> float:
        return max(self.devices.per_op("device_list_waits"))

    track_busiest_list_waits.unit = "of one list per slot allocated and freed"

    def track_all_list_locks(self, devices: int, threads: int) -> float:
        return sum(self.devices.per_op("device_list_locks"))

    track_all_list_locks.unit = "of all lists per slot allocated and freed"
