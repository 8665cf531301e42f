# Swap tiers: every example of the kernel's documentation, every error, and a model that works on single priorities.
# May import the package.
# Used by pytest.
import errno
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swaptable import SwapError, SwapValueError
from swaptable.tiers import ALL_TIERS, NO_TIER, Tier, TierMask, Tiers


def rows(tiers):
    return [(tier.name, tier.index, tier.start, tier.end) for tier in tiers]


def refused(tiers, text, err):
    """*text* fails with *err* and changes nothing."""
    before = tiers.read(), list(tiers)
    with pytest.raises(SwapError) as caught:
        tiers.write(text)
    assert caught.value.errno == err
    assert isinstance(caught.value, SwapValueError) == (err == errno.EINVAL)
    assert (tiers.read(), list(tiers)) == before
    tiers.check()
    return caught.value.strerror


# ---- the documentation's examples


def test_initialization():
    tiers = Tiers()
    tiers.write("+HDD:50, +NET:-1\n")
    assert tiers.read() == (
        "Name             Idx   PrioStart   PrioEnd    \n"
        "HDD              0     50          32767      \n"
        "NET              1     -1          49         \n"
    )
    assert str(tiers) == tiers.read()
    tiers.check()


def test_split():
    tiers = Tiers()
    tiers.write("+HDD:50, +NET:-1")
    tiers.write("+SSD:100")
    assert tiers.read() == (
        "Name             Idx   PrioStart   PrioEnd    \n"
        "SSD              2     100         32767      \n"
        "HDD              0     50          99         \n"
        "NET              1     -1          49         \n"
    )
    tiers.check()


def test_removal():
    tiers = Tiers()
    tiers.write("+NET:-1 +HDD:50 +SSD:100")
    assert rows(tiers) == [("SSD", 2, 100, 32767), ("HDD", 1, 50, 99), ("NET", 0, -1, 49)]
    tiers.write("-SSD")
    assert rows(tiers) == [("HDD", 1, 50, 32767), ("NET", 0, -1, 49)]
    tiers.write("-NET")
    assert rows(tiers) == [("HDD", 1, -1, 32767)]
    tiers.check()


def test_an_active_device():
    tiers = Tiers()
    tiers.write("+NET:-1 +HDD:50")
    tiers.pin(60)
    assert refused(tiers, "-HDD", errno.EBUSY) == "'-HDD' would take the device of priority 60 from tier 'HDD'"
    assert refused(tiers, "+SSD:60", errno.EBUSY) == "'+SSD:60' would take the device of priority 60 from tier 'HDD'"
    tiers.write("+SSD:100")
    assert rows(tiers) == [("SSD", 2, 100, 32767), ("HDD", 1, 50, 99), ("NET", 0, -1, 49)]
    assert tiers.tier(60).name == "HDD"
    # The tier below is nobody's: its range goes up to HDD, and the device stays in HDD.
    tiers.write("-NET")
    assert rows(tiers) == [("SSD", 2, 100, 32767), ("HDD", 1, -1, 99)]
    tiers.unpin(60)
    tiers.write("-HDD")
    assert rows(tiers) == [("SSD", 2, -1, 32767)]
    tiers.check()


# ---- what its selftests say


def test_the_lowest_priorities_must_be_covered():
    tiers = Tiers()
    message = refused(tiers, "+orphan:100", errno.EINVAL)
    assert message == "the lowest tier, 'orphan', starts at 100; expected one that starts at -1"
    assert len(tiers) == 0


def test_errors():
    tiers = Tiers()
    tiers.write("+hi:-1")
    assert refused(tiers, "+hi:100", errno.EEXIST) == "'+hi:100': there is a tier 'hi' already"
    assert "name is 'bad.name'; expected 1 to 15 letters" in refused(tiers, "+bad.name:100", errno.EINVAL)
    assert refused(tiers, "+dup:-1", errno.EBUSY) == "'+dup:-1': tier 'hi' starts at -1 already"
    assert refused(tiers, "+low:-2", errno.EINVAL) == "'+low:-2': priority is -2; expected -1 to 32767"


def test_a_batch_is_all_or_nothing():
    tiers = Tiers()
    tiers.write("+hi:-1")
    refused(tiers, "+a:50 +a:60", errno.EEXIST)
    refused(tiers, "-hi,+a:-1,-b", errno.EINVAL)
    refused(tiers, "+a:50 -hi -a +b:1", errno.EINVAL)
    assert rows(tiers) == [("hi", 0, -1, 32767)]
    # Nor are indices used up.
    tiers.write("+x:5")
    assert tiers.tier(5).index == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HDD:80", "'HDD:80' is no operation on tiers; expected .NAME:PRIORITY or -NAME"),
        ("+HDD", "'.HDD' is no operation"),
        ("+HDD:", "is no operation"),
        ("+HDD:x", "is no operation"),
        ("+HDD:1:2", "is no operation"),
        ("+HDD:1_0", "is no operation"),
        ("+HDD:1.5", "is no operation"),
        ("+ HDD:5", r"'\+' is no operation"),
        ("+:5", "name is ''"),
        ("+ß:5", "name is 'ß'"),
        ("+sixteen_letters_:5", "name is 'sixteen_letters_'; expected 1 to 15"),
        ("+a-b:5", "name is 'a-b'"),
        ("+HDD:32768", "priority is 32768; expected -1 to 32767"),
        ("+HDD:-32769", "priority is -32769; expected -1 to 32767"),
        ("-HDD", "'-HDD': there is no tier 'HDD'"),
        ("-", "there is no tier ''"),
        ("+", "is no operation"),
    ],
)
def test_what_is_no_operation(text, message):
    tiers = Tiers()
    with pytest.raises(SwapValueError, match=message):
        tiers.write(text)
    assert len(tiers) == 0


def test_separators_and_limits_of_values():
    tiers = Tiers()
    tiers.write(" \t+fifteen_letters:+32767,,\n+b:0\t+c:-1 \n")
    assert rows(tiers) == [("fifteen_letters", 0, 32767, 32767), ("b", 1, 0, 32766), ("c", 2, -1, -1)]
    tiers.write("")
    tiers.write(", \n")
    assert len(tiers) == 3
    tiers.check()


def test_as_many_tiers_as_configured():
    tiers = Tiers()
    tiers.write("+a:-1 +b:1 +c:2 +d:3")
    assert refused(tiers, "+e:4", errno.ENOSPC) == "'+e:4': there are 4 tiers, as many as there may be"
    tiers = Tiers(limit=31)
    tiers.write(" ".join(f"+t{i}:{i - 1}" for i in range(31)))
    refused(tiers, "+e:99", errno.ENOSPC)
    tiers.check()
    for limit in (0, 32):
        with pytest.raises(SwapValueError, match=f"limit is {limit}; expected 1 to 31"):
            Tiers(limit)


def test_indices_go_round():
    """A removed tier's index comes back last."""
    tiers = Tiers()
    tiers.write("+a:-1 +b:1")
    tiers.write("-b +c:2 +d:3")
    assert {tier.name: tier.index for tier in tiers} == {"a": 0, "c": 2, "d": 3}
    tiers.write("+e:5")
    assert tiers.tier(5) == Tier("e", 1, 5, 32767)
    assert tiers.tier(5).mask == 2


# ---- devices


def test_priorities_and_tiers():
    tiers = Tiers()
    assert tiers.tier(5) is None
    assert tiers.mask(5) == NO_TIER
    tiers.write("+fast:10 +slow:-1")
    assert [tiers.tier(priority).name for priority in (-1, 9, 10, 32767)] == ["slow", "slow", "fast", "fast"]
    assert (tiers.mask(10), tiers.mask(9)) == (1, 2)


def test_devices_from_before_the_tiers_pin_from_then_on():
    tiers = Tiers()
    tiers.pin(60)
    tiers.write("+HDD:50 +NET:-1 +SSD:55 -SSD +X:60 -X")  # Nobody has a tier yet.
    refused(tiers, "-HDD", errno.EBUSY)
    refused(tiers, "+SSD:55", errno.EBUSY)
    tiers.write("+SSD:61")


def test_pins_are_counted():
    tiers = Tiers()
    tiers.write("+a:-1 +b:5")
    tiers.pin(5), tiers.pin(5), tiers.pin(-1)
    tiers.unpin(5)
    refused(tiers, "-b", errno.EBUSY)
    refused(tiers, "-a", errno.EBUSY)
    tiers.unpin(5)
    tiers.write("-b")
    with pytest.raises(SwapValueError, match="priority is 5; expected that of a device that is on"):
        tiers.unpin(5)
    tiers.check()


@pytest.mark.parametrize("priority", [-2, 32768])
def test_priorities_that_no_device_has(priority):
    tiers = Tiers()
    for call in (tiers.pin, tiers.tier, tiers.mask):
        with pytest.raises(SwapValueError, match=f"priority is {priority}; expected -1 to 32767"):
            call(priority)


NAME = st.sampled_from("abcde")
PRIORITY = st.integers(-2, 8)
OPERATION = st.builds("+{}:{}".format, NAME, PRIORITY) | st.builds("-{}".format, NAME)


class Model:
    """A dict of starts. A device's tier is looked at before and after: that is the rule the kernel's checks are for."""

    def __init__(self, limit):
        self.starts, self.limit, self.devices = {}, limit, []

    def owner(self, starts, priority):
        below = {start: name for name, start in starts.items() if start <= priority}
        return below[max(below)] if below else None

    def write(self, operations):
        starts, had = dict(self.starts), bool(self.starts)
        for operation in operations:
            owners = [self.owner(starts, device) for device in self.devices]
            err = self.apply(starts, operation)
            if err:
                return err
            if had and owners != [self.owner(starts, device) for device in self.devices]:
                return errno.EBUSY
            if len(starts) > self.limit:
                return errno.ENOSPC
        if starts and min(starts.values()) != -1:
            return errno.EINVAL
        self.starts = starts
        return None

    def apply(self, starts, operation):
        if operation[0] == "-":
            if operation[1:] not in starts:
                return errno.EINVAL
            if starts.pop(operation[1:]) == -1 and starts:
                starts[min(starts, key=starts.get)] = -1
            return None
        name, start = operation[1:].split(":")
        if name in starts:
            return errno.EEXIST
        if int(start) in starts.values():
            return errno.EBUSY
        if int(start) < -1:
            return errno.EINVAL
        starts[name] = int(start)
        return None


@settings(max_examples=300)
@given(
    st.lists(st.lists(OPERATION, max_size=5) | st.integers(-1, 8) | st.none(), max_size=12),
    st.integers(1, 5),
)
def test_against_a_model(steps, limit):
    tiers, model = Tiers(limit), Model(limit)
    for step in steps:
        if step is None:
            if model.devices:
                tiers.unpin(model.devices.pop(0))
        elif isinstance(step, int):
            tiers.pin(step)
            model.devices.append(step)
        else:
            expected, got = model.write(step), None
            try:
                tiers.write(" ".join(step))
            except SwapError as err:
                got = err.errno
            assert got == expected
        tiers.check()
        assert {tier.name: tier.start for tier in tiers} == model.starts
        for priority in range(-1, 9):
            tier = tiers.tier(priority)
            assert (tier and tier.name) == model.owner(model.starts, priority)


# ---- memory.swap.tiers.max


@pytest.fixture
def tiers():
    made = Tiers()
    made.write("+slow:-1 +fast:10")
    return made


def test_a_new_group_may_use_every_tier(tiers):
    group = TierMask(tiers)
    assert group.read() == "fast max\nslow max\n"
    assert group.allowed == ALL_TIERS
    assert TierMask(Tiers()).read() == ""


def test_a_tier_is_denied_and_allowed_again(tiers):
    group = TierMask(tiers)
    group.write("fast 0\n")
    assert group.read() == "fast 0\nslow max\n"
    assert not group.allowed & tiers.mask(10)
    assert group.allowed & tiers.mask(9)
    group.write("\tfast  max ")
    assert group.read() == "fast max\nslow max\n"
    assert group.allowed == ALL_TIERS


@pytest.mark.parametrize("text", ["", "fast", "fast bogus", "fast 0 0", "fast 0\nslow 0", "0 fast", "fast 00"])
def test_what_is_no_pair(tiers, text):
    group = TierMask(tiers)
    with pytest.raises(SwapValueError, match=r"memory.swap.tiers.max is .*; expected a tier and max or 0"):
        group.write(text)
    assert group.allowed == ALL_TIERS


def test_an_unknown_tier(tiers):
    with pytest.raises(SwapValueError, match="is 'nosuchtier 0'; expected one of the tiers fast, slow"):
        TierMask(tiers).write("nosuchtier 0")


def test_a_child_can_only_narrow(tiers):
    root = TierMask(tiers)
    parent = TierMask(tiers, root)
    child = TierMask(tiers, parent)
    parent.write("fast 0")
    child.write("fast max")
    assert child.read() == "fast max\nslow max\n"  # What it says; the parent wins all the same.
    assert not child.allowed & tiers.mask(10)
    child.write("slow 0")
    assert child.allowed & (tiers.mask(10) | tiers.mask(9)) == 0
    assert parent.allowed & tiers.mask(9)
    parent.write("fast max")
    assert child.allowed & tiers.mask(10)
    assert root.allowed == ALL_TIERS


def test_a_recreated_tier_is_allowed_again(tiers):
    parent = TierMask(tiers)
    child = TierMask(tiers, parent)
    parent.write("fast 0")
    child.write("slow 0")
    tiers.write("-fast")
    assert parent.allowed == ALL_TIERS
    tiers.write("+fast:10")
    assert (parent.read(), child.read()) == ("fast max\nslow max\n", "fast max\nslow 0\n")
    assert child.allowed & tiers.mask(10)
    # By another name too, and when it has the old index.
    parent.write("fast 0")
    for i in range(5):
        tiers.write(f"-{tiers.tier(20).name} +fast{i}:20")
        assert parent.allowed & tiers.mask(20)


def test_a_failed_batch_leaves_the_masks(tiers):
    group = TierMask(tiers)
    group.write("fast 0")
    refused(tiers, "-fast +fast:10 -nosuchtier", errno.EINVAL)
    assert group.read() == "fast 0\nslow max\n"


def test_a_tier_that_gets_more_priorities_stays_what_it_is(tiers):
    group = TierMask(tiers)
    group.write("fast 0")
    tiers.write("-slow")
    assert group.read() == "fast 0\n"
    assert not group.allowed & tiers.mask(-1)


def test_no_group_is_denied_devices_without_a_tier():
    tiers = Tiers(31)
    tiers.write(" ".join(f"+t{i}:{i - 1}" for i in range(31)))
    group = TierMask(tiers)
    for tier in tiers:
        group.write(f"{tier.name} 0")
    assert group.allowed == NO_TIER


def test_threads():
    """Readers never see half a write: a batch that moves a boundary to and fro leaves every priority covered."""
    tiers = Tiers()
    tiers.write("+slow:-1 +fast:10")
    group = TierMask(tiers)
    stop, errors = threading.Event(), []

    def write(i):
        for _ in range(300):
            tiers.write("-fast +fast:20")
            group.write("slow 0" if i else "slow max")
        stop.set()

    def read():
        try:
            while not stop.is_set():
                seen = list(tiers)
                assert [tier.name for tier in seen] == ["fast", "slow"]
                assert seen[1].end + 1 == seen[0].start
                assert group.allowed & tiers.mask(32767)
        except AssertionError as err:
            errors.append(err)

    threads = [threading.Thread(target=write, args=(0,)), *(threading.Thread(target=read) for _ in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    tiers.check()
