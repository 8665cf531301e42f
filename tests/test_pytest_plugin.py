# The pytest plugin, in projects of its own: what it costs unused, what its fixtures make, what checked() finds.
# Imports pytest; pytester runs a project for each test.
# Used by pytest.
import os
import subprocess
import sys

import pytest

import swaptable._churn
import swaptable.replay
import swaptable.swapfile
import swaptable.trace
from swaptable.designs import make, names

pytest_plugins = ["pytester"]
# pytester forgets what a project imported, and numpy cannot be loaded twice: all of it is here before.
MODULES = [swaptable._churn, swaptable.replay, swaptable.swapfile, swaptable.trace]
LOADED = [make(name, 512) for name in names()]


def outcomes(pytester, text, *args):
    """Outcomes of a project whose only test module is *text*."""
    pytester.makepyfile(text)
    # hypothesis' own plugin would be imported anew each time.
    quick = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    result = pytester.runpytest_inprocess(*quick, "--strict-markers", "-rs", *args)
    return result.parseoutcomes() if result.outlines else {}, result


def test_unused_it_brings_nothing_along(pytester):
    """In a process of its own: this one has numpy and the core."""
    pytester.makepyfile(
        """
        import sys

        def test_not_there(pytestconfig):
            assert pytestconfig.pluginmanager.has_plugin("swaptable.pytest_plugin")
            brought = [name for name in sys.modules if name.split(".")[0] in ("numpy", "hypothesis", "rich")]
            ours = sorted(name for name in sys.modules if name.startswith("swaptable"))
            assert ours == ["swaptable", "swaptable.errors", "swaptable.pytest_plugin"]
            assert not brought
        """
    )
    # Without the plugins of others, which bring what they like.
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "swaptable.pytest_plugin"]
    done = subprocess.run(command, cwd=pytester.path, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unrelated_project_sees_the_fixtures(pytester):
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines_random(
        [f"{name} -- *" for name in
         ("swap_table", "aged_swap_table", "aged_swap_runs", "swap_space", "swap_design", "swap_trace", "checked")]
    )  # fmt: skip
    result = pytester.runpytest_subprocess("--markers")
    result.stdout.fnmatch_lines_random([f"@pytest.mark.{name}(*" for name in ("swap_table", "swap_aged", "swap_trace")])


def test_tables(pytester):
    done, _ = outcomes(
        pytester,
        """
        import pytest

        def test_plain(swap_table):
            assert len(swap_table) == 4096 and swap_table.usage()["used"] == 0

        @pytest.mark.swap_table(slots=600, cpus=2, header=False)
        def test_marked(swap_table):
            assert (len(swap_table), swap_table.cpus, swap_table.alloc(cpu=1)) == (600, 2, 512)

        @pytest.mark.parametrize("swap_table", [{"slots": 700}], indirect=True)
        def test_indirect(swap_table):
            assert len(swap_table) == 700

        @pytest.mark.swap_table(600)
        def test_wrong(swap_table):
            pass
        """,
    )
    assert done == {"passed": 3, "errors": 1}


def test_aged_tables_are_what_was_asked_for_and_the_same_again(pytester):
    done, _ = outcomes(
        pytester,
        """
        import pytest
        seen = []

        @pytest.mark.parametrize("again", range(2))
        @pytest.mark.swap_aged(slots=8192, occupancy=0.5, orders={0: 0.5, 4: 0.5}, seed=7, cpus=2)
        def test_aged(aged_swap_table, aged_swap_runs, again):
            usage = aged_swap_table.usage()
            assert abs(usage["used"] / usage["usable"] - 0.5) < 0.01
            assert set(aged_swap_runs.orders.tolist()) == {0, 4}
            assert int((1 << aged_swap_runs.orders.astype(int)).sum()) == usage["used"]
            assert usage["clusters"]["free"] < 8          # fragmented: in use everywhere
            seen.append(aged_swap_runs.slots.tolist())

        @pytest.mark.parametrize("aged_swap_table", [{"occupancy": 0.25}, {"occupancy": 0.75}], indirect=True)
        def test_indirect(aged_swap_table, request):
            usage = aged_swap_table.usage()
            wanted = request.node.callspec.params["aged_swap_table"]["occupancy"]
            assert abs(usage["used"] / usage["usable"] - wanted) < 0.01

        def test_seeded():
            assert seen[0] == seen[1]
        """,
    )
    assert done == {"passed": 5}


DESIGNS = """
    import pytest
    seen = []

    def test_each(swap_design):
        design = swap_design(1024)
        seen.append(swap_design.name)
        first = design.alloc()
        design.cache_del(first)
        assert design.used == 0

    @pytest.mark.parametrize("swap_design", ["old"], indirect=True)
    def test_one(swap_design):
        assert swap_design(512).name == "old"
    """


def test_every_design_has_its_test(pytester):
    done, _ = outcomes(pytester, DESIGNS)
    assert done == {"passed": len(names()) + 1}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("--swap-design", "old"), ["old"]),
        (("--swap-design", "old,vswap-24"), ["old", "vswap-24"]),
        (("--swap-design=ghost:dynamic=yes", "--swap-design=old"), ["ghost:dynamic=yes", "old"]),
        (("--swap-design", "vswap-table:deferred=no,index=array,old"), ["vswap-table:deferred=no,index=array", "old"]),
    ],
)
def test_some_designs(pytester, args, expected):
    done, result = outcomes(pytester, DESIGNS, "-v", *args)
    assert done == {"passed": len(expected) + 1}
    result.stdout.fnmatch_lines_random([f"*test_each?{name}?*" for name in expected])


def test_a_design_that_is_none(pytester):
    _, result = outcomes(pytester, DESIGNS, "--swap-design", "gost")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--swap-design 'gost': expected one of *ghost*"])


def test_traces(pytester):
    done, _ = outcomes(
        pytester,
        """
        import pytest
        from swaptable.replay import replay

        def test_default(swap_trace):
            assert len(swap_trace.page) == len(swap_trace.write) == 20_000
            assert replay((swap_trace.page, swap_trace.write), "swap-table", memory="50%").vmstat["pswpin"] > 0

        @pytest.mark.swap_trace(kind="sequential", records=100, pages=10)
        def test_marked(swap_trace):
            assert swap_trace.page.max() == 9

        @pytest.mark.swap_trace(name="sqlite-index", limit=500)
        def test_shipped(swap_trace):
            assert len(swap_trace.page) == 500
        """,
    )
    assert done == {"passed": 3}


BROKEN = """
    class Broken:
        def check(self):
            raise AssertionError("broken")
    """


def test_checked_finds_what_the_test_made(pytester):
    done, result = outcomes(
        pytester,
        BROKEN
        + """
    import pytest
    from swaptable import DeviceList, SwapTable
    from swaptable.designs import make
    calls = []

    @pytest.fixture(autouse=True)
    def watch(monkeypatch):
        import swaptable.pytest_plugin as plugin
        found = plugin._alive
        def alive():
            some = found()
            calls.append(sorted(type(one).__name__ for one in some))
            return some
        monkeypatch.setattr(plugin, "_alive", alive)

    keep = []

    def test_own_objects(checked):
        keep.extend([SwapTable(slots=600), DeviceList()])
        checked(make("old", 600))

    def test_they_were_found():
        before, after = calls
        new = list(after)
        for one in before:
            new.remove(one)
        assert new == ["DeviceList", "SwapTable"]

    def test_handed_over(checked):
        checked(SwapTable(slots=600)).alloc()
        with pytest.raises(TypeError, match="expected an object with a method check"):
            checked(3)

    def test_broken(checked):
        checked(Broken())
        checked(SwapTable(slots=600))
    """,
    )
    assert done == {"passed": 4, "errors": 1}
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_broken*", "*AssertionError: broken"])


SPACE = """
    import pytest

    def test_one_file(swap_space):
        space = swap_space()
        entry = space.swap_out(b"a page of text, " * 256)
        assert space.where([entry]) == ["SSD"]
        assert space.swap_in(entry)[:6] == b"a page"

    def test_tiers(swap_space, tmp_path):
        space = swap_space({"SSD": 1 << 20, "HDD": 1 << 21}, zswap="lz4", zswap_limit=1 << 18)
        assert [tier.name for tier in space.tiers if tier.name in ("SSD", "HDD")] == ["SSD", "HDD"]
        entry = space.swap_out(bytes(range(256)) * 16)
        assert space.where([entry]) == ["zswap0"]
        assert space.writeback(1) == 1
        assert space.where([entry]) == ["SSD"]
        assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"SSD", "HDD"}

    def test_two(swap_space, checked):
        first, second = swap_space(), swap_space({})
        first.swap_out(b"x" * 4096)
    """


def test_spaces_on_swapfiles(pytester):
    pytest.importorskip("swaptable.space", reason="swaptable.space is not there")
    done, _ = outcomes(pytester, SPACE)
    assert done == {"passed": 3}
