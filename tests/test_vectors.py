# The slots that a Linux kernel chose, replayed against the core and against the model.
# Imports the package, the model and the recorded scenarios in data/vectors.
# Used by pytest.
"""One case per scenario and subject: every allocation gets the slot that the kernel gave."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import model
import pytest

import swaptable
from swaptable import SwapFullError

SCENARIOS = sorted(p.name.split(".")[0] for p in (Path(__file__).parent / "data" / "vectors").glob("*.jsonl.xz"))
SEVERAL = {"two_equal", "two_equal_full", "two_priorities"}


def load(scenario: str) -> tuple[dict, list[dict]]:
    """The header and the events."""
    path = Path(__file__).parent / "data" / "vectors" / f"{scenario}.jsonl.xz"
    with lzma.open(path, "rt") as lines:
        header, *events = map(json.loads, lines)
    return header, events


def make_table(kind: type, device: dict, cpus: int):
    return kind(
        slots=device["pages"],
        cpus=cpus,
        header=True,
        bad=device.get("bad", ()),
        block=device["block"],
        rotational=device["rotational"],
        discard=bool(device.get("discard")),
    )


class Alone:
    """One table, as the only device."""

    def __init__(self, table):
        self.table = table
        self.tables = [table]

    def alloc(self, order: int, cpu: int) -> tuple[int, int]:
        return 0, self.table.alloc(order, cpu)

    def free(self, dev: int, slot: int, nr: int) -> None:
        self.table.free(slot, nr)


class Several:
    """Several tables in a list of devices."""

    def __init__(self, devices, tables, priorities):
        self.devices = devices
        self.tables = tables
        for kind, (table, priority) in enumerate(zip(tables, priorities, strict=True)):
            assert devices.add(table, priority) == kind

    def alloc(self, order: int, cpu: int) -> tuple[int, int]:
        return self.devices.alloc(order, cpu)

    def free(self, dev: int, slot: int, nr: int) -> None:
        self.devices.free(dev, slot, nr)


class Replay:
    """The kernel's requests, one after another, and what came of them."""

    def __init__(self, subject, header: dict):
        self.subject = subject
        self.several = "devices" in header
        self.cpu = 0
        self.slots: dict[tuple[int, int], tuple[int, int] | None] = {}  # (id, page) -> (device, slot)
        self.allocs = self.matched = 0
        self.first_mismatch: str | None = None

    def one(self, order: int) -> tuple[int, int] | None:
        try:
            return self.subject.alloc(order, self.cpu)
        except SwapFullError:
            return None

    def alloc(self, event: dict) -> None:
        nr = 1 << event["order"]
        got = self.one(event["order"])
        want = None if event["offset"] is None else (event.get("dev", 0), event["offset"])
        ok = got == want
        if "pages" in event:  # the folio was split, and each page asked for
            devs = event.get("devs", [0] * nr)
            want = [None if p is None else (d, p) for d, p in zip(devs, event["pages"], strict=True)]
            pages = {i: self.one(0) for i in [0, *range(nr - 1, 0, -1)]}
            ok = ok and [pages[i] for i in range(nr)] == want
        else:
            pages = {i: None if got is None else (got[0], got[1] + i) for i in range(nr)}
        self.slots.update({(event["id"], i): at for i, at in pages.items()})
        self.allocs += 1
        self.matched += ok
        if not ok and self.first_mismatch is None:
            self.first_mismatch = f"{event}: got {got}, pages {pages}"

    def free(self, event: dict) -> None:
        """Runs of slots that follow one another in a cluster are given up in one step."""
        runs: list[list[int]] = []
        for page in range(event["start"], event["start"] + event["nr"]):
            dev, slot = self.slots.pop((event["id"], page))
            if runs and runs[-1][0] == dev and runs[-1][1] + runs[-1][2] == slot and slot % 512:
                runs[-1][2] += 1
            else:
                runs.append([dev, slot, 1])
        for run in runs:
            self.subject.free(*run)

    def used(self, event: dict) -> None:
        used = [table.usage()["used"] for table in self.subject.tables]
        assert used == (event["pages"] if self.several else [event["pages"]])

    def run(self, events: list[dict]) -> None:
        for event in events:
            op = event["op"]
            if op == "cpu":
                self.cpu = event["cpu"]
            elif op == "wait":
                for table in self.subject.tables:
                    table.run_discard()
            else:
                {"alloc": self.alloc, "free": self.free, "used": self.used}[op](event)


def replay(scenario: str, table_class: type, devices_class: type | None) -> Replay:
    header, events = load(scenario)
    devices = header.get("devices", [header.get("device")])
    tables = [make_table(table_class, device, header["cpus"]) for device in devices]
    if "devices" in header:
        subject = Several(devices_class(cpus=header["cpus"]), tables, [device["priority"] for device in devices])
    else:
        subject = Alone(tables[0])
    result = Replay(subject, header)
    result.run(events)
    return result


def report(scenario: str, result: Replay) -> None:
    print(f"{scenario}: {result.matched} of {result.allocs} allocations match")
    assert result.first_mismatch is None
    assert result.matched == result.allocs > 0


def test_every_scenario_is_there():
    assert len(SCENARIOS) == 47
    assert set(SCENARIOS) > SEVERAL


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_core(scenario):
    if scenario in SEVERAL and not hasattr(swaptable, "DeviceList"):
        pytest.skip("swaptable.DeviceList does not exist yet")
    result = replay(scenario, swaptable.SwapTable, getattr(swaptable, "DeviceList", None))
    report(scenario, result)
    for table in result.subject.tables:
        table.check()
    if scenario in SEVERAL:
        result.subject.devices.check()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_model(scenario):
    report(scenario, replay(scenario, model.Table, model.Devices))
