# The published figures, digit by digit, from the formulas.
# Imports the package and pytest.
# Used by pytest.
import pytest

from swaptable import designs
from swaptable.published import FORMULAS, HOPS, MIB, find, select

N = 32 * 2**30 // 4096
S = 2**40 // 4096
USES = (0, 25, 50, 75, 100)

# What the letters print, for a 32 GiB swapfile; None where they print nothing.
LETTERS = {
    ("old", "zswap"): "25.00 57.00 89.00 121.00 153.00",
    ("old", "disk"): "25.00 41.00 57.00 73.00 89.00",
    ("vswap-24", "zswap"): "0.00 48.25 96.50 144.75 193.00",
    ("vswap-24", "disk"): "2.00 66.25 130.50 194.75 259.00",
    ("swap-table-p2", "disk"): "25.50 - - - 89.5",
    ("swap-table-p3", "disk"): "17.50 - - - 81.5",
    ("swap-table-p4, forecast", "disk"): "0.50 - - - 64.5",
}
# What follows from the sizes of the structures as merged or posted.
STRUCTURES = {
    ("swap-table-p3, 40 B a cluster", "disk"): "17.625 - - - 81.625",
    ("swap-table-p4", "disk"): "0.750 20.750 40.750 60.750 80.750",
    ("swap-table-p4", "zswap"): "0.750 36.750 72.750 108.750 144.750",
    ("swap-table-p4, exact xarray", "zswap"): "0.750 39.04 77.32 115.61 153.89",
    ("vswap-table", "zswap"): "0.000 36.35 72.70 109.04 145.39",
    ("vswap-table, kmalloc-96", "zswap"): "- - - - 145.64",
    ("vswap-table", "disk"): "0.750 53.10 105.45 157.79 210.14",
    ("vswap-table, v1", "disk"): "0.750 57.10 113.45 169.79 226.14",
    ("zram", "disk"): "128.75 148.75 168.75 188.75 208.75",
}


@pytest.mark.parametrize(("row", "figures"), [*LETTERS.items(), *STRUCTURES.items()], ids=str)
def test_every_digit(row, figures):
    formula = find(*row)
    for use, figure in zip(USES, figures.split(), strict=True):
        if figure != "-":
            digits = len(figure.partition(".")[2])
            assert f"{formula.bytes(N, N * use // 100) / MIB:.{digits}f}" == figure


@pytest.mark.parametrize("row", LETTERS, ids=str)
def test_letters_are_told_from_what_follows_from_them(row):
    assert find(*row).origin == "published"


@pytest.mark.parametrize("row", STRUCTURES, ids=str)
def test_what_follows_is_not_called_published(row):
    assert find(*row).origin == "derived"


def test_a_128_gib_device_has_four_times_that():
    """Quoted beside the table: 320 and 256 MB for phases 3 and 4, which is four times the above."""
    assert find("swap-table-p3", "disk").bytes(4 * N, 4 * N) / MIB == 326
    assert find("swap-table-p4, forecast", "disk").bytes(4 * N, 4 * N) / MIB == 4 * 64.5


def test_one_tib():
    static = {name: find(f"swap-table-{name}", "disk").bytes(S, 0) for name in ("p2", "p3", "p4")}
    assert (static["p2"] - static["p3"]) / MIB == 256  # "256 MB"
    assert pytest.approx((static["p2"] - static["p3"]) / static["p2"], abs=0.001) == 256 / (3 * 256 + 32 + 16)
    saved = (static["p3"] - static["p4"]) / MIB
    assert saved == 512 + 32 - 8  # "about 512MB", free -m says 528; cluster info is 32 bytes there
    assert static["p4"] / S == 0.09375  # "now roughly 0.09375 bytes"


def test_per_slot():
    """3 static and 8 dynamic before, 2 and 8, then 8: what LWN quotes for 7.0 and after."""
    for name, static, dynamic in (("p2", 3, 8), ("p3", 2, 8)):
        formula = find(f"swap-table-{name}", "disk")
        assert formula.bytes(N, 0) / N == pytest.approx(static + 1 / 8 + 32 / 512)
        assert (formula.bytes(N, N) - formula.bytes(N, 0)) / N == dynamic
    p4 = find("swap-table-p4", "disk")
    assert (p4.bytes(N, N) - p4.bytes(N, 0)) / N == 10


def test_hops():
    said = {hops.label: hops.bytes for hops in HOPS}
    assert said["redirect-chain"] == (8, 16, 24)
    assert said["front-back"] == (8, 12, 12)
    assert said["vswap-16"] == (16, 16, 16)
    assert said["vswap-16x"] == (12, 12, 12)
    assert said["vswap-48"] == (48, 48, 48)
    assert said["old"] == (11, None, None)


def test_every_design_has_a_formula_and_every_spec_can_be_built():
    assert {formula.label for formula in FORMULAS} >= set(designs.names())
    for formula in FORMULAS:
        assert formula.origin in ("published", "derived", "inferred")
        assert formula.source
        if formula.spec is not None:
            designs.parse(formula.spec)


def test_terms_are_kinds_that_the_structures_have():
    for formula in FORMULAS:
        if formula.spec is not None and formula.spec.partition(":")[0] != "swap-table":
            only_zswap = formula.spec.partition(":")[0] in ("ghost", "xswap")
            design = designs.make(formula.spec, 4096, **{} if only_zswap else {"backend": formula.backend})
            assert set(formula.kinds(1, 1)) <= set(design.memory()), formula.label


def test_kinds_add_up():
    for formula in FORMULAS:
        assert sum(formula.kinds(N, N // 3).values()) == pytest.approx(formula.bytes(N, N // 3))


def test_select():
    assert {formula.backend for formula in select(backend="zswap")} == {"zswap"}
    rows = [formula.label for formula in select(["swap-table-p4"])]
    assert rows == ["swap-table-p4, forecast", "swap-table-p4", "swap-table-p4", "swap-table-p4, exact xarray"]
    assert [formula.label for formula in select(["ghost:dynamic=yes"])] == ["ghost, dynamic"]


def test_an_unknown_row_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"'vswap-96' with disk; there are old, vswap-24"):
        find("vswap-96", "disk")
