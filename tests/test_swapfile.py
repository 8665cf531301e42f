# Swap areas in files: made, read back, refused; and judged by util-linux, file(1) and the running kernel.
# May import the package; the tests that need root, a tool or a kernel feature skip themselves and say why.
# Used by pytest.
import errno
import os
import socket
import stat
import sys
import uuid
from dataclasses import replace

import kernel_swap as host
import pytest
from test_swapheader import page

from swaptable import SwapError, SwapValueError, swapfile
from swaptable.swapfile import SwapHeader, has_holes, mkswap, read_header

UUID = uuid.UUID("c1b9d5a2-f162-11cf-9ece-0020afc76f16")
MIB = 1 << 20


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "area")


@pytest.fixture
def real(tmp_path):
    host.need_swapon(tmp_path)


def content(path):
    with open(path, "rb") as file:
        return file.read()


def make(path, data, size):
    """A file of *size* bytes with real blocks that begins with *data*."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    if size:
        os.posix_fallocate(fd, 0, size)
    os.pwrite(fd, data[:size], 0)
    os.close(fd)
    return path


# ---- made and read back


def test_a_new_file(path):
    header = mkswap(path, MIB + 5000, label="scratch", uuid=UUID)
    assert header == SwapHeader(256, (), UUID, "scratch") == read_header(path)
    status = os.stat(path)
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert (status.st_size, has_holes(path)) == (257 * 4096, False)
    assert content(path) == header.to_bytes() + bytes(256 * 4096)


def test_the_mode_is_0600_whatever_the_umask(path):
    old = os.umask(0)
    try:
        mkswap(path, MIB)
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@pytest.mark.parametrize("size", swapfile.PAGE_SIZES)
@pytest.mark.parametrize("order", ["little", "big"])
def test_page_sizes_and_byte_orders(path, size, order):
    header = mkswap(path, 10 * size, page_size=size, byteorder=order)
    assert (header.page_size, header.byteorder, header.pages) == (size, order, 10)
    assert read_header(path, size) == header


def test_uuids(path):
    first, second = mkswap(path, MIB), mkswap(path, MIB)
    assert first.uuid != second.uuid
    assert first.uuid.version == 4
    assert mkswap(path, MIB, uuid=str(UUID)).uuid == UUID
    assert mkswap(path, MIB, uuid="clear").uuid.int == 0
    assert mkswap(path, MIB, uuid="time").uuid.version == 1
    with pytest.raises(SwapValueError, match="uuid is 'x'; expected 32 hex digits with or without dashes, clear"):
        mkswap(path, MIB, uuid="x")


def test_a_ghost_is_told_apart(path):
    ghost = mkswap(path, 1 << 43, ghost=True)
    assert (ghost.ghost, ghost.pages, os.path.getsize(path)) == (True, 1 << 31, 4096)
    assert read_header(path) == ghost
    # The size of the file decides: a page more, and it is an area that is too short.
    os.truncate(path, 8192)
    with pytest.raises(SwapValueError) as caught:
        read_header(path)
    assert caught.value.strerror == f"{path} has 8192 bytes, less than the {1 << 43} that its header says"
    plain = str(path) + ".plain"
    assert not mkswap(plain, 8192).ghost
    os.truncate(plain, 4096)
    assert read_header(plain).ghost


@pytest.mark.parametrize("size", swapfile.PAGE_SIZES)
def test_a_ghost_has_one_page_of_its_own_size(path, size):
    assert mkswap(path, 1 << 40, ghost=True, page_size=size).ghost
    assert os.path.getsize(path) == size


def test_an_existing_file_keeps_size_mode_and_inode(path):
    make(path, b"", 3 * MIB)
    os.chmod(path, 0o640)
    inode = os.stat(path).st_ino
    assert mkswap(path).pages == 768
    assert mkswap(path, MIB).pages == 256  # A smaller area does not cut the file.
    status = os.stat(path)
    assert (status.st_ino, stat.S_IMODE(status.st_mode), status.st_size) == (inode, 0o640, 3 * MIB)
    assert mkswap(path, 4 * MIB).pages == 1024
    assert os.path.getsize(path) == 4 * MIB


def test_holes_are_filled(path):
    with open(path, "wb") as file:
        file.truncate(MIB)
    assert has_holes(path)
    mkswap(path)
    assert not has_holes(path)


def test_what_was_there_does_not_shine_through(path):
    """A signature of another page size, or of a filesystem at 64 KiB, would make the file two things at once."""
    mkswap(path, MIB, page_size=65536)
    with open(path, "r+b") as file:
        file.seek(65536 + 64)
        file.write(b"_BHRfS_M")
    mkswap(path, page_size=4096)
    assert content(path) == read_header(path).to_bytes() + bytes(MIB - 4096)


def test_an_area_longer_than_its_header(path):
    make(path, page(last=100), MIB)
    assert read_header(path).pages == 101


# ---- refused


def test_other_data_is_not_written_over(path):
    make(path, bytes(1080) + b"\x53\xef", MIB)
    before = content(path)
    with pytest.raises(SwapError) as caught:
        mkswap(path)
    assert caught.value.errno == errno.EEXIST
    assert caught.value.strerror == f"{path} holds data that is no swap area, from byte 1080; force writes over it"
    assert content(path) == before
    assert mkswap(path, force=True).pages == 256


def test_a_file_is_not_cut_to_a_ghost(path):
    mkswap(path, MIB)
    before = content(path)
    with pytest.raises(SwapError, match=f"has {MIB} bytes, a ghost has 4096; force cuts it") as caught:
        mkswap(path, 1 << 40, ghost=True)
    assert caught.value.errno == errno.EEXIST
    assert content(path) == before
    assert mkswap(path, 1 << 40, ghost=True, force=True).ghost
    assert mkswap(path, 1 << 41, ghost=True).pages == 1 << 29


@pytest.mark.parametrize("kind", ["directory", "character device", "FIFO", "socket"])
@pytest.mark.parametrize("call", [lambda path: mkswap(path, MIB, force=True), read_header], ids=["write", "read"])
def test_what_is_no_file(path, kind, call):
    with socket.socket(socket.AF_UNIX) as bound:
        if kind == "directory":
            os.mkdir(path)
        elif kind == "FIFO":
            os.mkfifo(path)
        elif kind == "socket":
            bound.bind(path)
        else:
            path = "/dev/null"
        with pytest.raises(SwapValueError, match=f"is a {kind}; expected a regular file or a block device"):
            call(path)


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (None, {}, "does not exist; expected a size for a new file"),
        (4096, {}, "size is 4096; expected 8192 .the header and a page. to 17592186040320"),
        (1 << 45, {"ghost": True}, "size is 35184372088832; expected 8192 "),
        (MIB, {"label": "0123456789abcdef"}, "label is '0123456789abcdef'; expected at most 15 bytes"),
        (MIB, {"page_size": 1024}, "page_size is 1024; expected one of 4096"),
        (MIB, {"byteorder": "middle"}, "byteorder is 'middle'; expected 'little' or 'big'"),
        (MIB, {"bad": [5, 6]}, "2 bad pages for .*area; expected none, since it is a regular file"),
        (MIB, {"bad": [256], "force": True}, "bad page 256; expected 1 to 255"),
    ],
)
def test_wrong_values_leave_nothing_behind(path, size, options, message):
    with pytest.raises(SwapValueError, match=message):
        mkswap(path, size, **options)
    assert not os.path.exists(path)


def test_bad_pages_in_a_file_on_demand(path):
    assert mkswap(path, MIB, bad=[7, 9], force=True).bad == (7, 9)
    assert read_header(path, bad_in_file=True).good_pages == 253
    with pytest.raises(SwapValueError, match="area lists 2 bad pages; expected none, since it is a regular file"):
        read_header(path)


def test_a_full_filesystem(path, monkeypatch):
    fallocate = os.posix_fallocate

    def full(fd, offset, size):
        fallocate(fd, offset, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mkswap(path, MIB)
    before = content(path)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        mkswap(path, 2 * MIB)
    assert content(path) == before
    with pytest.raises(OSError, match="No space left"):
        mkswap(path + "2", MIB)
    assert not os.path.exists(path + "2")


def test_short_writes_are_finished(path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:1000], offset))
    header = mkswap(path, MIB)
    assert content(path)[:4096] == header.to_bytes()


def test_the_header_comes_last(path, monkeypatch):
    """A failure before the end leaves nothing that could be taken for a swap area."""
    make(path, b"", MIB)
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: (_ for _ in ()).throw(OSError(errno.EIO, "EIO")))
    with pytest.raises(OSError, match="EIO"):
        mkswap(path, 2 * MIB)
    assert content(path) == bytes(MIB)


def test_no_such_directory(path):
    with pytest.raises(FileNotFoundError):
        mkswap(path + "/x/y", MIB)
    with pytest.raises(FileNotFoundError):
        read_header(path)


# ---- util-linux and file(1)


@pytest.mark.parametrize("order", ["little", "big"])
def test_swaplabel_blkid_and_file_read_ours(path, order):
    mkswap(path, MIB, label="scratch", uuid=UUID, byteorder=order)
    if order == sys.byteorder:
        if host.shutil.which("swaplabel"):
            assert host.run("swaplabel", path) == f"LABEL: scratch\nUUID:  {UUID}\n"
        if host.shutil.which("blkid"):
            assert f'LABEL="scratch" UUID="{UUID}" VERSION="1" TYPE="swap"' in host.run("blkid", "-p", path)
    # It counts without the header.
    said = host.run(host.tool("file"), "-b", path)
    assert f"Linux swap file, 4k page size, {order} endian, version 1, size 255 pages, 0 bad pages" in said
    assert str(UUID) in said


@pytest.mark.parametrize("name", ["swaplabel", "blkid"])
def test_util_linux_is_here(name):
    """So that a skip says what the test above could not ask."""
    host.tool(name)


def test_file_reads_a_ghost(path):
    mkswap(path, 1 << 40, ghost=True, label="ghost")
    assert "Linux swap file, 4k page size" in host.run(host.tool("file"), "-b", path)


def test_swaplabel_writes_ours(path):
    header = mkswap(path, MIB, label="old", uuid=UUID)
    other = uuid.UUID(int=UUID.int ^ 1)
    host.run(host.tool("swaplabel"), "-L", "new", "-U", str(other), path)
    assert read_header(path) == replace(header, label="new", uuid=other)


@pytest.mark.parametrize("size", [4096, 8192, 16384, 65536])
def test_byte_for_byte_util_linux(path, size):
    theirs = make(path + ".theirs", b"", MIB)
    host.run(host.tool("mkswap"), "-L", "scratch", "-U", str(UUID), "-p", str(size), theirs)
    assert read_header(theirs) == SwapHeader(MIB // size - 1, (), UUID, "scratch", size)
    mkswap(path, MIB, label="scratch", uuid=UUID, page_size=size)
    assert content(path) == content(theirs)


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_byte_orders_of_util_linux(path, order):
    host.supports("mkswap", "--endianness")
    theirs = make(path + ".theirs", b"", MIB)
    host.run("mkswap", "-U", str(UUID), "--endianness", order, theirs)
    mkswap(path, MIB, uuid=UUID, byteorder=order)
    assert content(path) == content(theirs)


def test_a_plain_mkswap_of_util_linux(path):
    host.run(host.tool("mkswap"), make(path, b"", MIB))
    header = read_header(path)
    assert (header.pages, header.label, header.page_size, header.byteorder) == (256, "", 4096, sys.byteorder)
    assert header.uuid.int


# ---- the running kernel


def test_the_kernel_takes_ours(path, real):
    mkswap(path, 2 * MIB, label="scratch")
    with host.swapped_on(path, 3):
        (line,) = [line for line in host.proc_swaps().splitlines() if line.startswith(path)]
        assert line.split()[1:] == ["file", "2044", "0", "3"]
        before = content(path)[:4096]
        with pytest.raises(SwapError, match="is on as swap") as caught:
            mkswap(path, force=True)
        assert caught.value.errno == errno.EBUSY
        assert content(path)[:4096] == before


def test_util_linux_swapon_takes_ours(path, real):
    mkswap(path, 2 * MIB)
    host.run("swapon", path)
    try:
        assert path in host.proc_swaps()
    finally:
        host.run("swapoff", path)


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_kernel_takes_both_byte_orders(path, real, order):
    mkswap(path, MIB, byteorder=order)
    with host.swapped_on(path):
        assert path in host.proc_swaps()


def test_the_kernel_takes_two_pages(path, real):
    mkswap(path, 8192)
    with host.swapped_on(path):
        assert f"{path}" in host.proc_swaps()


def test_the_kernel_wants_no_holes(path, real):
    with open(path, "wb") as file:
        file.truncate(MIB)
        file.write(page(last=255))
    assert (has_holes(path), host.refusal(path)) == (True, errno.EINVAL)
    mkswap(path)
    assert (has_holes(path), host.refusal(path)) == (False, None)


REFUSED = {
    "no signature": (page(magic=b"SWAPSPACE3"), 2 * MIB, "no swap signature"),
    "old signature": (page(magic=b"SWAP-SPACE"), 2 * MIB, "SWAP-SPACE of version 0"),
    "version": (page(version=2), 2 * MIB, "has version"),
    "empty": (page(last=0), 2 * MIB, "is empty"),
    "too short": (page(last=512), 2 * MIB, f"has {2 * MIB} bytes, less than the {2 * MIB + 4096} that its header says"),
    "tiny": (page(), 512, "no swap signature"),
    "no bytes": (b"", 0, "no swap signature"),
    "bad page in a file": (page(bad=[5]), 2 * MIB, "1 bad pages; expected none"),
}


@pytest.mark.parametrize(("data", "size", "message"), REFUSED.values(), ids=REFUSED)
def test_the_kernel_refuses_what_we_refuse(path, data, size, message, real):
    make(path, data, size)
    with pytest.raises(SwapValueError, match=message):
        read_header(path)
    assert host.refusal(path) == errno.EINVAL


@pytest.mark.parametrize(("data", "size", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(path, data, size, message):
    make(path, data, size)
    with pytest.raises(SwapValueError, match=message):
        read_header(path)


BAD = {
    "header": ([0], "bad page 0; expected 1 to 511"),
    "past the end": ([512], "bad page 512; expected 1 to 511"),
    "all": (list(range(1, 512)), "all its 511 pages are bad"),
    "one": ([5], None),
    "last": ([511], None),
    "all but one": (list(range(2, 512)), None),
}


@pytest.mark.parametrize(("bad", "message"), BAD.values(), ids=BAD)
def test_bad_pages_of_a_device(path, bad, message, real):
    make(path, page(bad=bad), 2 * MIB)
    with host.loop_device(path) as device:
        if message is None:
            assert read_header(device).bad == tuple(bad)
            with host.swapped_on(device):
                (line,) = [line for line in host.proc_swaps().splitlines() if line.startswith(device + " ")]
            assert int(line.split()[2]) == read_header(device).good_pages * 4
        else:
            with pytest.raises(SwapValueError, match=message):
                read_header(device)
            assert host.refusal(device) == errno.EINVAL


def test_a_device_of_one_page_is_no_ghost(path, real):
    make(path, page(last=512), 4096)
    assert read_header(path).ghost
    with host.loop_device(path) as device:
        with pytest.raises(SwapValueError, match="has 4096 bytes, less than the 2101248 that its header says"):
            read_header(device)
        assert host.refusal(device) == errno.EINVAL


def test_mkswap_on_a_device(path, real):
    make(path, bytes(100) + b"x", 2 * MIB)
    with host.loop_device(path) as device:
        with pytest.raises(SwapError, match="from byte 100; force writes over it"):
            mkswap(device)
        assert mkswap(device, bad=[3, 400], force=True).bad == (3, 400)
        with host.swapped_on(device), pytest.raises(SwapError, match="is on as swap"):
            mkswap(device, force=True)
        with pytest.raises(SwapValueError, match="expected at most the 2097152 bytes of"):
            mkswap(device, 3 * MIB)
        with pytest.raises(SwapValueError, match="is a block device; expected a regular file for a ghost"):
            mkswap(device, 1 << 40, ghost=True)
        # The file under it may be mounted: nobody but its driver writes there.
        with pytest.raises(SwapError, match=f"is under the loop device {device.split('/')[-1]}") as caught:
            mkswap(path, force=True)
        assert caught.value.errno == errno.EBUSY


def test_a_mounted_device(tmp_path, path):
    host.tool("mkfs.ext4"), host.tool("mount"), host.tool("umount")
    make(path, b"", 4 * MIB)
    (tmp_path / "mnt").mkdir()
    with host.loop_device(path) as device:
        host.run("mkfs.ext4", "-q", "-O", "^has_journal", device)
        if host.subprocess.run(["mount", device, tmp_path / "mnt"], capture_output=True, timeout=60).returncode:
            pytest.skip("this kernel mounts no ext4")
        try:
            before = content(device)
            with pytest.raises(SwapError, match="is mounted or has another user") as caught:
                mkswap(device, force=True)
            assert caught.value.errno == errno.EBUSY
            assert content(device) == before
        finally:
            host.run("umount", tmp_path / "mnt")
