# Memory cgroups: the text of every file, charges against a model, ids, removed groups, threads.
# May import the package.
# Used by pytest.
import errno
import random
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from swaptable import SwapError, SwapMemoryError, SwapValueError
from swaptable._memcgfiles import format_limit, no_limit, parse_flag, parse_limit
from swaptable.memcg import MAX_ID, ROOT_ID, MemcgTree
from swaptable.tiers import ALL_TIERS, Tiers

KIB = 1024
FILES = (
    "memory.swap.current", "memory.swap.high", "memory.swap.max", "memory.swap.peak", "memory.swap.events",
    "memory.swap.tiers.max", "memory.zswap.current", "memory.zswap.max", "memory.zswap.writeback",
)  # fmt: skip


@pytest.fixture
def tree():
    made = MemcgTree()
    yield made
    made.check()


@pytest.fixture
def job(tree):
    tree.mkdir("slice")
    return tree.mkdir("slice/job")


def events(group):
    return dict(group.events)


# ---- files


def test_the_files_of_a_new_group(job):
    assert job.files() == FILES
    assert {name: job.read(name) for name in FILES} == {
        "memory.swap.current": "0\n",
        "memory.swap.high": "max\n",
        "memory.swap.max": "max\n",
        "memory.swap.peak": "0\n",
        "memory.swap.events": "high 0\nmax 0\nfail 0\n",
        "memory.swap.tiers.max": "",
        "memory.zswap.current": "0\n",
        "memory.zswap.max": "max\n",
        "memory.zswap.writeback": "1\n",
    }


def test_the_files_of_a_used_group(tree, job):
    tree.tiers.write("+fast:10 +slow:-1")
    for name, text in {
        "memory.swap.high": "8K", "memory.swap.max": "16384\n", "memory.zswap.max": " 1M ",
        "memory.zswap.writeback": "0\n", "memory.swap.tiers.max": "fast 0",
    }.items():  # fmt: skip
        job.write(name, text)
    job.charge(4)
    with pytest.raises(SwapMemoryError):
        job.charge()
    tree.uncharge(job.id, 2)
    assert job.zswap_charge([100, 2000]) == 2
    assert {name: job.read(name) for name in FILES} == {
        "memory.swap.current": "8192\n",
        "memory.swap.high": "8192\n",
        "memory.swap.max": "16384\n",
        "memory.swap.peak": "16384\n",
        "memory.swap.events": "high 1\nmax 1\nfail 1\n",
        "memory.swap.tiers.max": "fast 0\nslow max\n",
        "memory.zswap.current": "2100\n",
        "memory.zswap.max": "1048576\n",
        "memory.zswap.writeback": "0\n",
    }
    above = job.parent
    assert above.read("memory.swap.current") == "8192\n"
    assert above.read("memory.swap.events") == job.read("memory.swap.events")
    assert above.read("memory.zswap.current") == "2100\n"
    assert above.read("memory.swap.max") == "max\n"


def test_the_root_has_one_file(tree):
    assert tree.root.files() == ("memory.zswap.writeback",)
    assert tree.root.read("memory.zswap.writeback") == "1\n"
    with pytest.raises(SwapError, match=r"'' has no memory.swap.max; it has memory.zswap.writeback") as caught:
        tree.root.read("memory.swap.max")
    assert caught.value.errno == errno.ENOENT


def test_a_file_that_is_none(job):
    message = "'slice/job' has no memory.swap.low; it has memory.swap.current, "
    for call in (lambda: job.read("memory.swap.low"), lambda: job.write("memory.swap.low", "1")):
        with pytest.raises(SwapError, match=message) as caught:
            call()
        assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("name", ["memory.swap.current", "memory.swap.events", "memory.zswap.current"])
def test_files_that_are_only_read(job, name):
    with pytest.raises(SwapValueError, match=f"{name} of 'slice/job' cannot be written"):
        job.write(name, "0")


@pytest.mark.parametrize("name", ["memory.swap.max", "memory.swap.high", "memory.zswap.max"])
def test_limits_are_whole_pages(job, name):
    for text, pages in {
        "max": "max", "0": "0", "4095": "0", "4096": "4096", "10000": "8192", "64K": "65536", "1g": "1073741824",
        "0x2000": "8192", "010000": "4096", "1E": str(1 << 60), "8E": "max", "9" * 30: "max",
        "9223372036854775807": "max", "9223372036854771711": "9223372036854767616",
    }.items():  # fmt: skip
        job.write(name, f" {text}\n")
        assert job.read(name) == pages + "\n", text
    for text in ("", " ", "K", "-1", "max 1", "MAX", "1KB", "1.5M", "08", "0x", "1 K", "1_0", "٣", "9" * 5000):
        with pytest.raises(SwapValueError, match=rf"{name} is .*; expected max, or bytes such as 4096, 64M or 1G"):
            job.write(name, text)
        assert job.read(name) == "9223372036854767616\n"


def test_limits_in_other_page_sizes():
    assert parse_limit("100K", 65536) == 1
    assert format_limit(1, 65536) == "65536\n"
    assert format_limit(no_limit(65536), 65536) == "max\n"
    tree = MemcgTree(page_size=65536)
    group = tree.mkdir("a")
    group.charge(3)
    assert group.read("memory.swap.current") == "196608\n"
    with pytest.raises(SwapValueError, match="page_size is 5000; expected a power of two"):
        MemcgTree(page_size=5000)


@given(st.integers(0, (1 << 63) - 4096))
def test_limits_survive(size):
    pages = parse_limit(str(size), 4096)
    assert pages == size // 4096
    assert parse_limit(format_limit(pages, 4096), 4096) == pages


def test_writeback_takes_a_flag(job):
    for text, value in {"0": "0\n", "1\n": "1\n", " 0x0 ": "0\n", "+01": "1\n"}.items():
        job.write("memory.zswap.writeback", text)
        assert job.read("memory.zswap.writeback") == value
    for text in ("", "2", "-1", "yes", "1 0", "0b1"):
        with pytest.raises(SwapValueError, match=r"memory.zswap.writeback is .*; expected 0 or 1"):
            job.write("memory.zswap.writeback", text)
    assert parse_flag("1")


def test_the_peak_starts_again_with_a_write(tree, job):
    job.charge(10)
    tree.uncharge(job.id, 7)
    assert job.read("memory.swap.peak") == f"{10 * 4096}\n"
    job.write("memory.swap.peak", "x")
    assert (job.read("memory.swap.peak"), job.watermark) == (f"{3 * 4096}\n", 10)
    job.charge(1)
    assert job.read("memory.swap.peak") == f"{4 * 4096}\n"
    assert job.parent.read("memory.swap.peak") == f"{10 * 4096}\n"
    with pytest.raises(SwapValueError, match=r"memory.swap.peak is ''; expected any text"):
        job.write("memory.swap.peak", "")


def test_tiers_are_those_of_the_system():
    tiers = Tiers()
    tiers.write("+fast:10 +slow:-1")
    tree = MemcgTree(tiers=tiers)
    above, group = tree.mkdir("a"), tree.mkdir("a/b")
    above.write("memory.swap.tiers.max", "fast 0")
    assert group.read("memory.swap.tiers.max") == "fast max\nslow max\n"
    assert not tree.allowed(group) & tiers.mask(10)
    assert tree.allowed(group) & tiers.mask(-1)
    assert tree.allowed(tree.root) == ALL_TIERS
    with pytest.raises(SwapValueError, match="is 'warm 0'; expected one of the tiers fast, slow"):
        group.write("memory.swap.tiers.max", "warm 0")


# ---- the tree


def test_groups(tree):
    a, b = tree.mkdir("a"), tree.mkdir("b")
    c = tree.mkdir("a/c")
    assert (c.path, c.name, c.parent, a.children) == ("a/c", "c", a, {"c": c})
    assert list(tree) == [tree.root, a, b, c]
    assert tree["a/c"] is c
    assert tree[""] is tree.root
    assert repr(c) == "<Memcg 'a/c' id=4>"
    tree.rmdir(c)
    tree.rmdir("a")
    assert list(tree) == [tree.root, b]


@pytest.mark.parametrize(
    ("call", "err", "message"),
    [
        (lambda tree: tree.mkdir("a"), errno.EEXIST, "'a' exists already"),
        (lambda tree: tree.mkdir("a/memory.swap.max"), errno.EEXIST, "'a/memory.swap.max' exists already"),
        (lambda tree: tree.mkdir("x/y"), errno.ENOENT, "there is no group 'x': no 'x' in ''"),
        (lambda tree: tree.mkdir(""), errno.EINVAL, "path is ''; expected names joined by /"),
        (lambda tree: tree.mkdir("a/.."), errno.EINVAL, "path is 'a/..'"),
        (lambda tree: tree.mkdir("a/x\ny"), errno.EINVAL, "path is 'a/x.ny'"),
        (lambda tree: tree.mkdir("/a"), errno.EEXIST, "'/a' exists already"),
        (lambda tree: tree["a/x"], errno.ENOENT, "there is no group 'a/x': no 'x' in 'a'"),
        (lambda tree: tree.rmdir("x"), errno.ENOENT, "there is no group 'x'"),
        (lambda tree: tree.rmdir("a"), errno.EBUSY, "'a' has b below it"),
        (lambda tree: tree.rmdir(""), errno.EBUSY, "'' is the root"),
        (lambda tree: tree.rmdir(MemcgTree().mkdir("a")), errno.ENOENT, "has been removed, or is of another tree"),
    ],
)
def test_what_the_tree_refuses(tree, call, err, message):
    a = tree.mkdir("a")
    b = tree.mkdir("a/b")
    with pytest.raises(SwapError) as caught:
        call(tree)
    assert caught.value.errno == err
    assert message.replace(".n", "\\n") in caught.value.strerror
    assert list(tree) == [tree.root, a, b]


def test_a_removed_group_has_no_files(tree, job):
    tree.rmdir(job)
    for call in (lambda: job.read("memory.swap.max"), lambda: job.write("memory.swap.max", "1")):
        with pytest.raises(SwapError, match="the group has been removed") as caught:
            call()
        assert caught.value.errno == errno.ENODEV
    with pytest.raises(SwapError, match="has been removed"):
        tree.rmdir(job)


# ---- charges


def test_a_charge_counts_at_every_level(tree, job):
    assert job.charge(512) is job
    assert [group.usage for group in job.up()] == [512, 512, 512]
    assert (job.charged, job.pinned, job.parent.charged) == (512, 512, 0)
    tree.uncharge(job.id, 512)
    assert [group.usage for group in job.up()] == [0, 0, 0]


def test_the_root_pays_nothing_itself(tree):
    assert tree.root.charge(5) is tree.root
    assert (tree.root.usage, tree.root.pinned) == (0, 5)
    tree.uncharge(ROOT_ID, 5)
    assert tree.root.pinned == 0


@pytest.mark.parametrize("level", [0, 1])
def test_a_limit_at_any_level(tree, job, level):
    limited = [job, job.parent][level]
    limited.write("memory.swap.max", "40K")
    job.charge(8)
    with pytest.raises(SwapMemoryError) as caught:
        job.charge(4)
    state = f"memory.swap.max of '{limited.path}' is 10 pages, 8 are in use"
    assert caught.value.strerror == f"4 pages for 'slice/job': {state}"
    assert caught.value.errno == errno.ENOMEM
    # Nothing was charged, and the events are those of the group that asked, whoever has the limit.
    assert [group.usage for group in job.up()] == [8, 8, 8]
    assert job.pinned == 8
    assert events(job) == events(job.parent) == {"high": 0, "max": 1, "fail": 1}
    assert job.charge(2).usage == 10


def test_siblings_share_the_limit_above(tree):
    above = tree.mkdir("a")
    one, two = tree.mkdir("a/one"), tree.mkdir("a/two")
    above.write("memory.swap.max", "16K")
    one.charge(3)
    with pytest.raises(SwapMemoryError):
        two.charge(2)
    assert (events(one)["max"], events(two)["max"], events(above)["max"]) == (0, 1, 1)
    assert (one.room(), two.room()) == (1, 1)
    two.charge()
    assert (one.room(), two.room(), tree.root.room()) == (0, 0, no_limit(4096))


def test_a_limit_below_the_use(tree, job):
    job.charge(10)
    job.write("memory.swap.max", "8K")
    assert job.usage == 10
    with pytest.raises(SwapMemoryError):
        job.charge()
    assert (job.room(), job.charge_many(3)) == (0, (job, 0))
    tree.uncharge(job.id, 9)
    assert job.charge().usage == 2


def test_high_is_counted_and_does_not_refuse(tree, job):
    job.write("memory.swap.high", "16K")
    job.parent.write("memory.swap.high", "20K")
    job.charge(4)
    assert events(job) == {"high": 0, "max": 0, "fail": 0}
    job.charge()  # Above it in job, and so an event in all above.
    assert (events(job)["high"], events(job.parent)["high"]) == (1, 1)
    job.charge()  # Above both: the parent counts its own and that of job.
    assert (events(job)["high"], events(job.parent)["high"]) == (2, 3)
    assert tree.root.events["high"] == 0


def test_no_slot_anywhere(job):
    job.alloc_failed()
    job.alloc_failed(3)
    assert job.read("memory.swap.events") == "high 0\nmax 0\nfail 4\n"
    assert job.parent.events["fail"] == 4


def test_half_of_the_limit_is_full(tree, job):
    assert not job.swap_full()
    job.charge(4)
    job.parent.write("memory.swap.max", "36K")
    assert not job.swap_full()
    job.write("memory.swap.high", "32K")
    assert job.swap_full()
    assert not tree.root.swap_full()


@pytest.mark.parametrize("nr", [0, -1])
def test_counts_that_are_none(tree, job, nr):
    for call in (job.charge, lambda nr: job.charge(nr, backed=False), lambda nr: job.charge_many(1, nr),
                 lambda nr: job.charge_many(1, nr, backed=False), lambda nr: tree.uncharge(job.id, nr),
                 lambda nr: tree.lose_blocks(job.id, nr)):  # fmt: skip
        with pytest.raises(SwapValueError, match=f"nr is {nr}; expected 1 "):
            call(nr)
    with pytest.raises(SwapValueError, match="count is -1; expected 0 or more"):
        job.charge_many(-1)


LIMIT = st.none() | st.integers(0, 40)


@settings(max_examples=200)
@given(
    st.lists(LIMIT, min_size=4, max_size=4), st.integers(0, 20), st.integers(0, 12), st.integers(1, 5), st.booleans()
)
def test_many_charges_are_single_ones(limits, used, count, nr, backed):
    trees = [MemcgTree(), MemcgTree()]
    groups = []
    for tree in trees:
        tree.mkdir("a"), groups.append(tree.mkdir("a/b"))
        groups[-1].charge(used) if used else None
        names = ["memory.swap.max", "memory.swap.high"] * 2
        for group, name, limit in zip(["a", "a", "a/b", "a/b"], names, limits, strict=True):
            tree[group].write(name, "max" if limit is None else str(limit * 4096))
    many, single = groups
    owner, done = many.charge_many(count, nr, backed=backed)
    charged = 0
    for _ in range(count):
        try:
            single.charge(nr, backed=backed)
            charged += 1
        except SwapMemoryError:
            pass
    assert (owner, done) == (many, charged)
    for one, other in zip(many.up(), single.up(), strict=True):
        assert (one.usage, one.events, one.peak, one.pinned) == (other.usage, other.events, other.peak, other.pinned)
    for tree in trees:
        tree.check()


# ---- ids and removed groups


def test_ids_are_the_lowest_that_are_free(tree):
    groups = [tree.mkdir(name) for name in "abcd"]
    assert [tree.root.id, *(group.id for group in groups)] == [1, 2, 3, 4, 5]
    tree.rmdir("c"), tree.rmdir("a")
    assert (tree.mkdir("e").id, tree.mkdir("f").id, tree.mkdir("g").id) == (2, 4, 6)
    assert tree.by_id(4) is tree["f"]


def test_an_id_is_held_by_its_last_slot(tree, job):
    job.charge(3)
    job.charge(2, backed=False)
    tree.rmdir(job)
    assert tree.mkdir("other").id != job.id
    assert tree.by_id(job.id) is job
    assert tree.dying() == [job]
    assert repr(job) == "<Memcg 'slice/job' id=3 dying>"
    tree.uncharge(job.id, 3)
    tree.uncharge(job.id, backed=False)
    assert tree.owner(job.id) is tree["slice"]
    tree.uncharge(job.id, backed=False)
    with pytest.raises(SwapValueError, match="id is 3; expected that of a group"):
        tree.by_id(job.id)
    assert (tree.dying(), tree.mkdir("new").id) == ([], job.id)


def test_slots_of_a_removed_group_weigh_on_those_above(tree, job):
    above = job.parent
    above.write("memory.swap.max", "20K")
    job.charge(4)
    tree.rmdir(job)
    assert above.usage == 4
    with pytest.raises(SwapMemoryError):
        above.charge(2)
    tree.uncharge(job.id, 4)
    assert above.usage == 0
    above.charge(2)


def test_a_charge_to_a_removed_group_goes_up(tree, job):
    job.write("memory.swap.max", "0")  # Its limits hold no more.
    tree.rmdir(job)
    assert job.charge(2) is tree["slice"]
    assert job.charge_many(3) == (tree["slice"], 3)
    assert (tree["slice"].charged, job.usage) == (5, 0)
    job.alloc_failed()
    assert tree["slice"].events["fail"] == 1
    tree.rmdir("slice")
    assert job.charge() is tree.root
    assert tree.owner(tree.root.id) is tree.root


def test_removed_groups_below_removed_groups(tree):
    tree.mkdir("a"), tree.mkdir("a/b"), tree.mkdir("a/b/c")
    a, b, c = tree["a"], tree["a/b"], tree["a/b/c"]
    c.charge(2), b.charge(3)
    tree.rmdir(c), tree.rmdir(b)
    tree.uncharge(b.id, 3)
    assert tree.dying() == [c]  # The id of b is free, though c is still charged through it.
    assert tree.owner(c.id) is a
    assert (a.usage, b.usage, c.usage) == (2, 2, 2)
    tree.check()
    assert tree.mkdir("x").id == b.id
    tree.uncharge(c.id, 2)
    assert (a.usage, a.dying, b.dying) == (0, set(), set())


def test_all_ids_in_use(tree):
    groups = [tree.mkdir(str(i)) for i in range(MAX_ID - ROOT_ID)]
    with pytest.raises(SwapError, match="all 65535 ids are in use, by groups or by slots of removed ones") as caught:
        tree.mkdir("one more")
    assert caught.value.errno == errno.ENOSPC
    groups[7].charge()
    tree.rmdir(groups[7])
    with pytest.raises(SwapError, match="ids are in use"):
        tree.mkdir("one more")
    tree.uncharge(groups[7].id)
    assert tree.mkdir("one more").id == groups[7].id


def test_more_than_there_is(tree, job):
    job.charge(3)
    job.charge(2, backed=False)
    have = "are more than there are: it has 5 slots, 3 of them charged"
    for nr, backed in ((6, True), (4, True), (3, False)):
        with pytest.raises(SwapValueError, match=have):
            tree.uncharge(job.id, nr, backed=backed)
    with pytest.raises(SwapValueError, match="id is 99; expected that of a group"):
        tree.uncharge(99)
    with pytest.raises(SwapValueError, match=have):
        tree.uncharge_many([job.id] * 4)
    assert (job.charged, job.pinned, job.usage) == (3, 5, 3)


def test_many_uncharges(tree):
    a, b = tree.mkdir("a"), tree.mkdir("b")
    a.charge_many(5, 4), b.charge_many(3, 4), b.charge_many(2, 4, backed=False), tree.root.charge(4)
    tree.rmdir(b)
    ids = np.array([a.id, b.id, 0, b.id, tree.root.id, a.id, b.id, 0], dtype=np.uint16)
    tree.uncharge_many(ids, 4, backed=[True, True, True, False, True, True, False, False])
    assert (a.charged, b.charged, b.pinned, tree.root.pinned) == (12, 8, 8, 0)
    tree.uncharge_many(np.array([], dtype=np.int64))
    tree.uncharge_many([b.id, b.id], 4)
    assert tree.dying() == []
    tree.uncharge(0, 100)  # Slots without an owner.
    for ids in ([-1], [65536], [1.5]):
        with pytest.raises(SwapValueError, match="expected integers from 0 to 65535"):
            tree.uncharge_many(ids)
    with pytest.raises(SwapValueError, match="expected that of a group"):
        tree.uncharge_many([a.id, 77])
    assert a.charged == 12


# ---- ghosts


def test_slots_without_a_block_are_charged_when_they_get_one(tree, job):
    job.write("memory.swap.max", "16K")
    job.charge(100, backed=False)
    assert (job.usage, job.pinned) == (0, 100)
    tree.gain_blocks(job.id, 4)
    with pytest.raises(SwapMemoryError, match=r"1 pages for 'slice/job': memory.swap.max of 'slice/job' is 4 pages"):
        tree.gain_blocks(job.id)
    assert (job.usage, job.pinned, events(job)["max"]) == (4, 100, 1)
    tree.lose_blocks(job.id, 3)
    assert (job.usage, job.pinned) == (1, 100)
    with pytest.raises(SwapValueError, match="nr is 100; expected at most 99, what 'slice/job' has without a block"):
        tree.gain_blocks(job.id, 100)
    with pytest.raises(SwapValueError, match="nr is 2; expected 1 to 1, what 'slice/job' has charged"):
        tree.lose_blocks(job.id, 2)
    tree.uncharge(job.id, 99, backed=False)
    tree.uncharge(job.id)
    assert (job.usage, job.pinned) == (0, 0)


def test_the_other_policy():
    tree = MemcgTree(charge_ghost=True)
    job = tree.mkdir("job")
    job.write("memory.swap.max", "16K")
    job.charge(3, backed=False)
    assert job.charge_many(5, backed=False) == (job, 1)
    tree.gain_blocks(job.id, 2), tree.lose_blocks(job.id, 1)
    assert (job.usage, job.pinned) == (4, 4)
    tree.uncharge(job.id, 1, backed=False)
    tree.uncharge_many([job.id] * 3, backed=[True, False, True])
    assert (job.usage, job.pinned) == (0, 0)
    tree.check()


def test_blocks_for_slots_of_removed_groups(tree, job):
    above = job.parent
    job.write("memory.swap.max", "0")
    above.write("memory.swap.max", "8K")
    job.charge(5, backed=False)
    tree.rmdir(job)
    tree.gain_blocks(job.id, 2)
    with pytest.raises(SwapMemoryError, match=r"memory.swap.max of 'slice' is 2 pages, 2 are in use"):
        tree.gain_blocks(job.id)
    assert (above.usage, above.events["fail"]) == (2, 1)
    tree.uncharge(job.id, 2)
    tree.uncharge(job.id, 3, backed=False)
    assert above.usage == 0


def test_blocks_of_the_root(tree):
    tree.root.charge(3, backed=False)
    tree.gain_blocks(ROOT_ID, 2), tree.lose_blocks(ROOT_ID, 1)
    tree.uncharge(ROOT_ID, 3)
    assert (tree.root.usage, tree.root.pinned) == (0, 0)


# ---- zswap


def test_compressed_bytes_count_at_every_level(tree, job):
    assert job.zswap_charge(1500) == 1
    assert job.zswap_charge(np.array([1000, 3000, 0], dtype=np.uint16)) == 3
    assert [group.zswap_bytes for group in job.up()] == [5500, 5500, 5500]
    tree.zswap_uncharge(job.id, 2500)
    assert job.read("memory.zswap.current") == "3000\n"
    with pytest.raises(SwapValueError, match="3001 bytes of zswap of 'slice/job'; expected at most the 3000 that"):
        tree.zswap_uncharge(job.id, 3001)
    tree.zswap_uncharge(job.id, 3000)
    assert tree.root.zswap_bytes == 0


def test_zswap_is_full_when_the_limit_is_reached_in_pages(job):
    """The kernel looks before it compresses: the last page goes beyond the limit."""
    job.write("memory.zswap.max", "8K")
    assert job.zswap_charge([4096, 4095]) == 2
    assert job.may_zswap()
    assert job.zswap_charge([3000, 1]) == 1
    assert job.zswap_bytes == 11191
    assert not job.may_zswap()
    assert job.zswap_charge([1, 1]) == 0


def test_no_zswap_for_a_group(tree, job):
    job.parent.write("memory.zswap.max", "0")
    assert not job.may_zswap()
    assert job.zswap_charge([1]) == 0
    assert tree.mkdir("other").may_zswap()
    assert tree.root.may_zswap()
    assert tree.root.zswap_charge([5, 5]) == 2  # The root's own are not counted.
    assert tree.root.zswap_bytes == 0
    tree.zswap_uncharge(ROOT_ID, 10)


@given(st.lists(st.integers(0, 4096), max_size=30), LIMIT, LIMIT)
def test_many_pages_are_single_ones(sizes, above, own):
    trees = [MemcgTree(), MemcgTree()]
    for tree in trees:
        tree.mkdir("a"), tree.mkdir("a/b")
        for name, limit in (("a", above), ("a/b", own)):
            tree[name].write("memory.zswap.max", "max" if limit is None else f"{limit}K")
    many, single = (tree["a/b"] for tree in trees)
    done = 0
    while done < len(sizes) and single.may_zswap():
        done += single.zswap_charge(sizes[done])
    assert many.zswap_charge(sizes) == done
    assert many.zswap_bytes == single.zswap_bytes == sum(sizes[:done])


@pytest.mark.parametrize("sizes", [[-1], [[1]]])
def test_sizes_that_are_none(tree, job, sizes):
    with pytest.raises(SwapValueError, match="expected bytes, 0 or more, in one dimension"):
        job.zswap_charge(sizes)
    with pytest.raises(SwapValueError, match="size is -1; expected bytes"):
        tree.zswap_uncharge(job.id, -1)


def test_zswap_of_a_removed_group(tree, job):
    job.write("memory.zswap.max", "4K")
    job.charge()
    job.zswap_charge(5000)
    tree.rmdir(job)
    assert job.may_zswap()  # What comes now is for the group above.
    assert job.zswap_charge(100) == 1
    assert (tree["slice"].zswap_own, tree["slice"].zswap_bytes) == (100, 5100)
    tree.uncharge(job.id)
    assert tree.dying() == [job]
    tree.zswap_uncharge(job.id, 5000)
    assert tree.dying() == []
    assert tree["slice"].zswap_bytes == 100


def test_writeback_is_forbidden_from_above(tree, job):
    assert job.writeback_allowed()
    job.parent.write("memory.zswap.writeback", "0")
    assert not job.writeback_allowed()
    assert job.read("memory.zswap.writeback") == "1\n"
    assert tree.mkdir("slice/later").read("memory.zswap.writeback") == "1\n"
    assert not tree["slice/later"].writeback_allowed()
    assert tree.root.writeback_allowed()
    job.parent.write("memory.zswap.writeback", "1")
    tree.root.write("memory.zswap.writeback", "0")
    assert not job.writeback_allowed()


# ---- a model, and threads


INFINITE, MANY = 1 << 60, 1 << 40


class Machine(RuleBasedStateMachine):
    """A list of charges: group, nearest living group, pages, charged or not. Every figure is a sum over it."""

    def __init__(self):
        super().__init__()
        self.tree = MemcgTree()
        self.live = {"": self.tree.root}
        self.limits, self.events, self.charges = {}, {}, []

    def above(self, path):
        """*path* and all above it but the root, upwards."""
        names = path.split("/") if path else []
        return ["/".join(names[:end]) for end in range(len(names), 0, -1)]

    def use(self, path):
        return sum(nr for _, home, nr, charged in self.charges if charged and path in self.above(home))

    def over(self, path, name, nr=0):
        """Groups from *path* up that would be above a limit with *nr* pages more."""
        return [at for at in self.above(path) if self.use(at) + nr > self.limits[at, name]]

    def count(self, path, *names):
        for at in self.above(path):
            for name in names:
                self.events[at][name] += 1

    def a_path(self, data):
        return data.draw(st.sampled_from(sorted(set(self.live) - {""})))

    @rule(data=st.data(), name=st.sampled_from("ab"))
    def mkdir(self, data, name):
        parent = data.draw(st.sampled_from(sorted(path for path in self.live if path.count("/") < 2)))
        path = f"{parent}/{name}".lstrip("/")
        if path in self.live:
            with pytest.raises(SwapError, match="exists already"):
                self.tree.mkdir(path)
            return
        group = self.tree.mkdir(path)
        taken = {other.id for other in self.live.values()} | {charge[0].id for charge in self.charges}
        assert group.id == min(set(range(1, len(taken) + 2)) - taken)
        self.live[path] = group
        self.limits[path, "max"] = self.limits[path, "high"] = INFINITE
        self.events[path] = {"high": 0, "max": 0, "fail": 0}

    @precondition(lambda self: len(self.live) > 1)
    @rule(data=st.data())
    def rmdir(self, data):
        path = self.a_path(data)
        if any(other.startswith(path + "/") for other in self.live):
            with pytest.raises(SwapError, match="below it"):
                self.tree.rmdir(path)
            return
        self.tree.rmdir(path)
        del self.live[path]
        for charge in self.charges:
            if charge[1] == path:
                charge[1] = path.rpartition("/")[0]

    @precondition(lambda self: len(self.live) > 1)
    @rule(data=st.data(), name=st.sampled_from(["max", "high"]), pages=st.none() | st.integers(0, 30))
    def limit(self, data, name, pages):
        path = self.a_path(data)
        self.live[path].write(f"memory.swap.{name}", "max" if pages is None else f"{pages * 4}K")
        self.limits[path, name] = INFINITE if pages is None else pages

    def refused(self, home, nr, call):
        """Whether the limits forbid it; then *call* must say so."""
        if not self.over(home, "max", nr):
            return False
        with pytest.raises(SwapMemoryError):
            call()
        self.count(home, "max", "fail")
        return True

    @rule(data=st.data(), nr=st.integers(1, 8), backed=st.booleans())
    def charge(self, data, nr, backed):
        path = data.draw(st.sampled_from(sorted(self.live)))
        group = self.live[path]
        if backed and self.refused(path, nr, lambda: group.charge(nr)):
            return
        assert group.charge(nr, backed=backed) is group
        self.charges.append([group, path, nr, backed and path != ""])
        for at in self.over(path, "high") if backed else ():
            self.count(at, "high")

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def charge_to_whom_it_was(self, data):
        """Removed groups take no charge: the one above does."""
        group, home, _, _ = data.draw(st.sampled_from(self.charges))
        assert group.charge(2, backed=False) is self.live[home]
        self.charges.append([self.live[home], home, 2, False])

    @precondition(lambda self: self.charges)
    @rule(data=st.data())
    def uncharge(self, data):
        group, _, nr, charged = self.charges.pop(data.draw(st.integers(0, len(self.charges) - 1)))
        self.tree.uncharge(group.id, nr, backed=charged)

    @precondition(lambda self: any(group.parent for group, _, _, _ in self.charges))
    @rule(data=st.data())
    def gain_or_lose_blocks(self, data):
        charge = data.draw(st.sampled_from([charge for charge in self.charges if charge[0].parent]))
        group, home, nr, charged = charge
        if charged:
            self.tree.lose_blocks(group.id, nr)
            charge[3] = False
        elif not self.refused(home, nr, lambda: self.tree.gain_blocks(group.id, nr)):
            self.tree.gain_blocks(group.id, nr)
            # A group that has come up to the root is charged there, which no file shows.
            charge[3] = True
            for at in self.over(home, "high"):
                self.count(at, "high")

    @invariant()
    def agrees(self):
        self.tree.check()
        assert {group.path: group for group in self.tree} == self.live
        for path in set(self.live) - {""}:
            group = self.live[path]
            assert group.usage == self.use(path)
            assert group.events == self.events[path]
            rooms = [self.limits[at, "max"] - self.use(at) for at in self.above(path)]
            assert min(group.room(), MANY) == min(max(0, min(rooms)), MANY)
        assert self.tree.root.usage == sum(nr for _, _, nr, charged in self.charges if charged)
        assert set(self.tree.dying()) == {group for group, _, _, _ in self.charges if not group.online}
        for group, home, _, _ in self.charges:
            assert self.tree.by_id(group.id) is group
            assert self.tree.owner(group.id) is self.live[home]


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_threads():
    """Charges, removals and new groups at once: in the end every id and every page is back."""
    tree = MemcgTree()
    tree.mkdir("all").write("memory.swap.max", f"{200 * 4}K")
    errors = []

    def work(number):
        rng = random.Random(number)
        try:
            for round in range(60):
                group = tree.mkdir(f"all/{number}.{round}")
                ids = []
                for _ in range(10):
                    nr = rng.choice([1, 2, 16])
                    owner, done = group.charge_many(rng.randrange(4), nr)
                    ids += [owner.id] * (done * nr)
                assert tree["all"].usage <= 200
                size = rng.randrange(9000)
                group.zswap_charge(size)
                tree.rmdir(group)
                tree.zswap_uncharge(group.id, size) if ids or size else None
                tree.uncharge_many(np.array(ids, dtype=np.int64))
        except Exception as err:
            errors.append(err)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tree.check()
    for thread in threads:
        thread.join()
    assert errors == []
    tree.check()
    assert (tree.dying(), tree["all"].usage, tree.root.usage, tree.root.zswap_bytes) == ([], 0, 0, 0)
    assert tree["all"].watermark <= 200
