# `swaptable run`: traces on tiers with contents that are verified; tiers by name; what is refused.
# Imports the package.
# Used by pytest.
import json
import os

import numpy as np
import pytest

from swaptable import cli
from swaptable.contents import DEFAULT_MIX, Contents, generate, parse_mix, read_pages
from swaptable.errors import CheckError, SwapFullError, SwapValueError
from swaptable.space import SwapSpace
from swaptable.swaprun import Program, add_tier, run

TIERS = {
    "three": ["ghost", "zswap:lz4:1M", "file:{}/a:8M"],
    "four": ["ghost", "zswap:lz4:512K", "file:{}/a:1M", "file:{}/b:8M"],
    "file": ["file:{}/a:16M"],
    "just compress": ["ghost", "zswap:zstd-1:64M"],
    "zram": ["zram:lz4:16M"],
    "in front": ["zswap:lz4:512K", "memory:16M"],
}


def accesses(n, pages=1500, seed=1):
    rng = np.random.default_rng(seed)
    page = np.minimum(rng.zipf(1.2, n), pages).astype(np.uint64) + np.uint64(0x7F0000)
    page[::3] = np.arange(len(page[::3])) % pages + 0x7F0000  # a scan beside it
    page[::50] += 100_000
    return page, rng.random(n) < 0.3


def machine(folder, tiers, **options):
    space = SwapSpace(**options)
    for number, tier in enumerate(tiers):
        add_tier(space, tier.format(folder), 100 - number)
    return space


@pytest.mark.parametrize("tiers", TIERS.values(), ids=TIERS)
def test_every_page_comes_back(tmp_path, tiers):
    program = Program.load(accesses(12_000))
    assert len(program.areas) == 2 and program.footprint <= program.length
    with machine(tmp_path, tiers) as space:
        result = run(space, program, program.footprint // 2, Contents(generate(256, seed=3)))
        assert result.swapped_in > 300 and result.verified > result.swapped_in
        assert result.faults > result.swapped_in and result.accesses == 12_000
        assert all(device.used == 0 for device in space.devices if not device.pool)
        space.check()


def test_compressed_writeback(tmp_path):
    program = Program.load(accesses(12_000))
    with machine(tmp_path, ["ghost", "zswap:lz4:256K", "file:{}/a:8M"], compressed_writeback=True) as space:
        result = run(space, program, program.footprint // 2, Contents(generate(256, seed=3)))
        assert result.written_back > 0 and space.stats()["zswap_blobs"] > 0


def test_readahead_pays_off_in_a_scan(tmp_path):
    page = np.tile(np.arange(1000, dtype=np.uint64), 3)
    program = Program.load((page, np.ones(len(page), bool)))
    with machine(tmp_path, ["file:{}/a:8M"]) as space:
        result = run(space, program, 500, Contents(generate(64)))
        stat = result.report.vmstat
        assert stat["swap_ra_hit"] > 0.9 * stat["swap_ra"] > 1000


def test_a_page_with_other_contents_is_noticed(tmp_path):
    program = Program.load(accesses(3000))
    with machine(tmp_path, ["memory:16M"]) as space:
        device = next(iter(space.devices))
        read = device.backend.read_many

        def wrong(blocks, out):
            read(blocks, out)
            out[:, 9] ^= 1

        device.backend.read_many = wrong
        with pytest.raises(CheckError, match="came back with other contents than it had"):
            run(space, program, program.footprint // 2, Contents(generate(64)))


def test_out_of_swap(tmp_path):
    program = Program.load(accesses(6000))
    with (
        machine(tmp_path, ["memory:1M"]) as space,
        pytest.raises(SwapFullError, match="pages can go nowhere: all tiers are full"),
    ):
        run(space, program, 100, Contents(generate(64)))


# ---- contents


def test_a_mix_has_its_shares():
    pages = generate(1000, parse_mix("zero=10,same=20,compressible=30,random=40"), seed=2)
    same = (pages == pages[:, :1]).all(axis=1)
    assert (same & (pages[:, 0] == 0)).sum() == 100 and same.sum() == 300
    assert np.array_equal(generate(100, DEFAULT_MIX, 5), generate(100, DEFAULT_MIX, 5))
    assert not np.array_equal(generate(100, DEFAULT_MIX, 5), generate(100, DEFAULT_MIX, 6))


def test_contents_differ_by_page_and_version():
    contents = Contents(generate(64, parse_mix("zero=1,same=1,compressible=4,random=2")))
    pages = np.repeat(np.arange(500), 2)
    found = contents.of(pages, np.tile([0, 1], 500))
    zero = ~found.any(axis=1)
    assert len(np.unique(found[~zero], axis=0)) == (~zero).sum() and 0 < zero.sum() < 300
    assert np.array_equal(found, contents.of(pages, np.tile([0, 1], 500)))
    same = (found.view(np.uint64) == found.view(np.uint64)[:, :1]).all(axis=1)
    assert same.sum() > zero.sum()


def test_contents_of_a_file(tmp_path):
    data = generate(8, seed=9)
    (tmp_path / "core").write_bytes(data.tobytes() + b"rest")
    assert np.array_equal(read_pages(tmp_path / "core"), data)
    (tmp_path / "core").write_bytes(b"rest")
    with pytest.raises(SwapValueError, match="has 4 bytes; expected a page"):
        read_pages(tmp_path / "core")


# ---- the command


def test_the_command(tmp_path, capsys):
    tiers = [option for tier in TIERS["three"] for option in ("--tier", tier.format(tmp_path))]
    assert cli.main(["run", "gcc", "--limit", "60000", "--memory", "30%", *tiers]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("gcc.npz: 60,000 accesses, footprint ") and "verified" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["tier", "ghost0", "zswap0", f"{tmp_path}/a", "zero"]
    assert not os.path.exists(tmp_path / "a")


def test_json_and_a_file_of_pages(tmp_path, capsys):
    (tmp_path / "core").write_bytes(generate(32, seed=9).tobytes())
    arguments = [
        "run",
        "gcc",
        "--limit",
        "40000",
        "--tier",
        "zram:lz4:64M",
        "--pages",
        str(tmp_path / "core"),
        "--json",
    ]
    assert cli.main(arguments) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["command"] == "run" and found["verified"] >= found["swapped_in"] > 0
    assert found["report"]["tiers"][0]["kind"] == "zram"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tier", "flop:1G"], "tier 'flop:1G': expected zswap, file, ghost, zram, memory"),
        (["--tier", "zswap:lz4:12q"], "limit is '12q'"),
        (["--tier", "file"], "tier 'file': no path; expected file:PATH or file:PATH:SIZE"),
        (["--tier", "file:/nowhere"], "tier 'file:/nowhere': /nowhere is not there; with a size it is made"),
        (["--tier", "zswap:flop:1M"], "flop"),
        (["--tier", "memory:16M", "--mix", "text=1"], "mix 'text=1': expected shares"),
        (["--tier", "memory:16M", "--mix", "zero=0"], "mix 'zero=0': expected one share above 0"),
        (["--tier", "memory:16M", "--page-cluster", "12"], "page_cluster 12: expected 0 to 9"),
        (["--tier", "memory:16M", "--memory", "4K"], "memory 1: expected 2 pages at least"),
        (["--tier", "memory:16M", "--memory", "lots"], "memory is 'lots'"),
    ],
)
def test_refused(options, message, capsys):
    assert cli.main(["run", "gcc", "--limit", "1000", *options]) == 2
    assert message in capsys.readouterr().err
