# What the tests need to ask the running kernel and util-linux: swapon in a context, loop devices, reasons to skip.
# May import pytest and the standard library.
# Used by test_swapfile.py, test_swaplist.py and test_areas_cli.py; nothing stays on, mounted or attached.
import contextlib
import ctypes
import os
import shutil
import subprocess
import time

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)
ENV = os.environ | {"LC_ALL": "C.UTF-8"}


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", env=ENV, timeout=60)
    assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def tool(name):
    """Skip where a program is not installed."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return name


def supports(name, option):
    if option not in run(tool(name), "--help"):
        pytest.skip(f"this {name} has no {option}")


def swapon(path, priority=None):
    """The system call, without util-linux's own checks; None, or the errno."""
    flags = 0 if priority is None else 0x8000 | priority
    return ctypes.get_errno() if LIBC.swapon(os.fsencode(path), flags) else None


def swapoff(path):
    assert LIBC.swapoff(os.fsencode(path)) == 0, os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def swapped_on(path, priority=None):
    err = swapon(path, priority)
    assert err is None, f"swapon of {path}: {os.strerror(err)}"
    try:
        yield
    finally:
        swapoff(path)


def refusal(path):
    """The errno of swapon; what it takes against expectation is off again."""
    err = swapon(path)
    if err is None:
        swapoff(path)
    return err


def need_swapon(directory):
    """Skip where the kernel does not let us, shown by an area that util-linux made."""
    if os.geteuid() != 0:
        pytest.skip("swapon is for root")
    tool("mkswap"), tool("swapon"), tool("swapoff")
    path = os.path.join(directory, "control.swap")
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(fd, 0, 1 << 20)
        run("mkswap", path)
        err = refusal(path)
    finally:
        os.close(fd)
        os.unlink(path)
    if err is not None:
        pytest.skip(f"this kernel or filesystem takes no swap file of util-linux: {os.strerror(err)}")


@contextlib.contextmanager
def loop_device(path):
    """A block device whose bytes are those of *path*."""
    if os.geteuid() != 0:
        pytest.skip("loop devices are for root")
    done = subprocess.run([tool("losetup"), "--show", "-f", path], capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"no loop device to be had: {done.stderr.strip()}")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        run("losetup", "-d", device)


def settled(read):
    """*read()* and /proc/swaps around it, of a moment in which nobody else's swapping changed that."""
    for _ in range(50):
        before = proc_swaps()
        value = read()
        if proc_swaps() == before:
            return before, value
        time.sleep(0.05)
    pytest.skip("/proc/swaps does not stand still: this machine swaps")


def proc_swaps():
    with open("/proc/swaps", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
