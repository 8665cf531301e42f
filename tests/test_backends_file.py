# Blocks of a file: contents, one call a run, direct and buffered, holes, and every call failing once.
# Imports the package, page_mix.
# Used by pytest.
import errno
import os

import numpy as np
import pytest
from page_mix import PAGE, digest, mix

from swaptable.backends import Backend
from swaptable.backends._pages import empty_pages
from swaptable.backends.file import END, SHORT, FileBackend
from swaptable.errors import SwapValueError, TransferError

BLOCKS = 256


@pytest.fixture(params=["buffered", "direct"])
def file(request, tmp_path):
    direct = None if request.param == "direct" else False
    with FileBackend(tmp_path / "swap", BLOCKS, create=True, direct=direct) as file:
        if request.param == "direct" and not file.direct:
            pytest.skip(f"no direct I/O here: {file.direct_why}")
        yield file
        file.check()


@pytest.fixture
def plain(tmp_path):
    with FileBackend(tmp_path / "swap", BLOCKS, create=True, direct=False) as file:
        yield file


def calls(file):
    n = file.counts()
    return n["reads"], n["writes"]


def test_churn(file):
    held, rng = {}, np.random.default_rng(1)
    file.write_many(bytes(BLOCKS * PAGE), 0)
    for round_ in range(60):
        blocks = rng.permutation(BLOCKS)[: rng.integers(1, 64)]
        pages = mix(len(blocks), round_, {"noise": 1.0})
        written = file.write_many(pages, blocks)
        assert written.blocks.tolist() == blocks.tolist()
        assert not written.errors.any()
        held.update(zip(blocks.tolist(), map(digest, pages), strict=True))
        wanted = rng.permutation(list(held))
        for block, page in zip(wanted.tolist(), file.read_many(wanted), strict=True):
            assert digest(page) == held[block]
    file.flush()
    with open(file.path, "rb") as raw:
        for block, expected in held.items():
            raw.seek(block * PAGE)
            assert digest(raw.read(PAGE)) == expected


def test_one_call_a_run(file):
    """Runs by number, whatever the order in the arrays; neighbours of both directions count."""
    pages = mix(40, 2, {"noise": 1.0})
    blocks = np.concatenate([np.arange(100, 116)[::-1], np.arange(16, 32), [5, 7, 9, 8, 6, 4, 50, 51]])
    file.write_many(pages, blocks)
    assert file.counts()["writes"] == file.counts()["calls"] == 4
    assert (file.read_many(blocks) == pages).all()
    assert file.counts()["reads"] == 4
    assert (file.read_many(np.arange(4, 10)) == pages[[37, 32, 36, 33, 35, 34]]).all()


def test_folio_by_its_first_block(file):
    folio = mix(16, 3, {"noise": 1.0})
    assert file.write_folio(folio, 32).tolist() == list(range(32, 48))
    out = np.empty_like(folio)
    assert file.read_folio(32, out) is out
    assert (out == folio).all()
    assert file.read_folio(33).tobytes() == folio[1].tobytes()
    assert calls(file) == (2, 1)
    big = mix(200, 4, {"noise": 1.0})
    file.write_folio(big, 10)
    assert (file.read_folio(10, np.empty_like(big)) == big).all()


def test_any_buffer(file):
    data = mix(3, 5, {"noise": 1.0})
    file.write_many(data.tobytes(), [1, 2, 3])
    file.write_many(memoryview(data.view(np.uint64)), np.array([4, 5, 6], np.uint32))
    file.write_many(bytearray(data.tobytes()), (7, 8, 9))
    out = bytearray(9 * PAGE)
    file.read_many(range(1, 10), out)
    assert out == data.tobytes() * 3


def test_the_last_of_two_writes_to_one_block_stays(file):
    pages = mix(5, 6, {"noise": 1.0})
    file.write_many(pages, [3, 4, 3, 5, 3])
    assert (file.read_many([3, 4, 5]) == pages[[4, 1, 3]]).all()
    assert (file.read_many([4, 3, 4]) == pages[[1, 4, 1]]).all()


def test_more_buffers_than_one_call_takes(tmp_path):
    """A run whose pages lie in reverse needs a buffer each: IOV_MAX of them a call."""
    with FileBackend(tmp_path / "swap", 2500, create=True, direct=False) as file:
        pages = mix(2500, 7, {"text": 1.0})
        blocks = np.arange(2500)[::-1]
        file.write_many(pages, blocks)
        assert file.counts()["calls"] == 3
        assert (file.read_many(blocks) == pages).all()
        file.write_many(pages, 0)
        assert file.counts()["writes"] == 4


def test_direct_io_takes_any_memory(tmp_path):
    with FileBackend(tmp_path / "swap", BLOCKS, create=True) as file:
        if not file.direct:
            pytest.skip(f"no direct I/O here: {file.direct_why}")
        assert file.direct_why == ""
        aligned = empty_pages(16)
        aligned[:] = mix(16, 8, {"noise": 1.0})
        file.write_folio(aligned, 0)
        assert file.counts()["bounced"] == file.memory()["total"] == 0
        crooked = bytearray(16 * PAGE + 1)
        file.read_folio(0, memoryview(crooked)[1:])
        assert crooked[1:] == aligned.tobytes()
        assert file.counts()["bounced"] == 16
        assert file.memory()["bounce"] == file.memory()["total"] > 0


def test_buffered_says_why(tmp_path, plain):
    assert (plain.direct, plain.direct_why) == (False, "not asked for")


def test_holes(tmp_path):
    with FileBackend(tmp_path / "swap", BLOCKS, create=True, direct=False, discard=True) as file:
        file.write_many(b"x" * BLOCKS * PAGE, 0)
        file.flush()
        before = os.stat(file.path).st_blocks
        file.invalidate(np.r_[np.arange(64, 128)[::-1], 200, 10:20])
        if not file.discard:
            pytest.skip("this file system has no holes")
        assert file.counts()["discards"] == 3
        assert file.counts()["pages_discarded"] == 75
        assert before - os.stat(file.path).st_blocks == 75 * PAGE // 512
        assert not file.read_many(np.arange(64, 128)).any()
        assert (file.read_many([63, 128, 199, 201, 9, 20]) == ord("x")).all()
        assert os.stat(file.path).st_size == BLOCKS * PAGE
        assert (file.read_many([30, 31], exclusive=True) == ord("x")).all()
        assert not file.read_many([30, 31]).any()


def test_without_discard_nothing_happens(plain):
    plain.write_many(b"x" * PAGE, 3)
    plain.invalidate([3])
    plain.invalidate(np.arange(0))
    assert plain.counts()["calls"] == 1
    assert plain.read_many([3])[0, 0] == ord("x")


def test_sizes(tmp_path):
    path = tmp_path / "swap"
    with pytest.raises(FileNotFoundError):
        FileBackend(path)
    path.write_bytes(bytes(10 * PAGE + 100))
    with FileBackend(path) as file:
        assert file.blocks == file.room() == 10
    with FileBackend(path, 4) as file:
        assert file.blocks == 4
    with pytest.raises(SwapValueError, match="expected 11"):
        FileBackend(path, 11)
    with FileBackend(path, 20, create=True) as file:
        assert file.blocks == 20
    assert path.stat().st_size == 20 * PAGE
    with pytest.raises(SwapValueError, match="blocks 0"):
        FileBackend(path, 0)
    path.write_bytes(b"")
    with pytest.raises(SwapValueError, match="expected 1"):
        FileBackend(path)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.read_many([1, BLOCKS]), "block 256"),
        (lambda f: f.read_many(BLOCKS), "block 256"),
        (lambda f: f.write_many(b"y" * 2 * PAGE, BLOCKS - 1), "block 256"),
        (lambda f: f.write_many(b"y" * 2 * PAGE, [0, -1]), "block -1"),
        (lambda f: f.write_many(b"y" * PAGE, -1), "block -1"),
        (lambda f: f.write_many(b"y" * PAGE), "does not choose"),
        (lambda f: f.write_many(b"y" * PAGE, [1, 2]), "2 blocks for 1 pages"),
        (lambda f: f.write_many(b"y" * 100, [1]), "100 bytes"),
        (lambda f: f.read_many([1], bytes(PAGE)), "writable"),
        (lambda f: f.read_many([1.5]), "float64"),
        (lambda f: setattr(f, "fault", 7), "fault 7"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(plain, call, message):
    plain.write_many(b"x" * BLOCKS * PAGE, 0)
    with pytest.raises(SwapValueError, match=message):
        call(plain)
    assert (plain.read_many(np.arange(BLOCKS)) == ord("x")).all()


def test_a_file_that_ends_early_is_an_error(plain):
    os.truncate(plain.path, 10 * PAGE)
    with pytest.raises(TransferError, match="2 of 4 pages done") as caught:
        plain.read_many([11, 9, 8, 12])
    e = caught.value
    assert (e.errno, e.index, e.done) == (errno.EIO, 0, 2)
    assert e.errors.tolist() == [errno.EIO, 0, 0, errno.ECANCELED]


def test_a_closed_file_is_an_error(plain):
    plain.close()
    plain.close()
    with pytest.raises(TransferError) as caught:
        plain.read_many([1])
    assert caught.value.errno == errno.EBADF


FAULTS = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC, "short": SHORT, "end": END}


class Faults:
    """Answers *fault* to call number *at*, and what it was asked."""

    def __init__(self, at, fault):
        self.at, self.fault, self.asked = at, fault, []

    def __call__(self, call, operation, nbytes):
        self.asked.append((call, operation, nbytes))
        return self.fault if call == self.at else None


def run_of_io(file, seed, rounds=12):
    """Writes, reads, drops and flushes; what is not known to have failed must be there. Returns the failures."""
    held, failures, rng = {}, 0, np.random.default_rng(seed)
    for round_ in range(rounds):
        blocks = rng.permutation(BLOCKS)[: rng.integers(1, 12)]
        blocks[: len(blocks) // 2] = np.arange(len(blocks) // 2) + 100
        blocks = np.unique(blocks)
        rng.shuffle(blocks)
        pages = mix(len(blocks), seed + round_, {"noise": 1.0})
        done = np.ones(len(blocks), bool)
        try:
            file.write_many(pages, blocks)
        except TransferError as e:
            failures += 1
            done = e.errors == 0
            if (e.errors[e.index], e.done) != (e.errno, done.sum()):
                raise AssertionError(f"{e}: {e.errors}") from e
            for block in blocks[~done].tolist():    # old or new: nobody knows
                held.pop(block, None)
        held.update(zip(blocks[done].tolist(), map(digest, pages[done]), strict=True))
        try:
            wanted = rng.permutation(list(held))
            out = np.zeros((len(wanted), PAGE), np.uint8)
            done = np.ones(len(wanted), bool)
            file.read_many(wanted, out)
        except TransferError as e:
            failures += 1
            done = e.errors == 0
        for block, page in zip(wanted[done].tolist(), out[done], strict=True):
            assert digest(page) == held[block]
        try:
            gone = rng.permutation(list(held))[:3]
            file.invalidate(gone)
        except TransferError:
            failures += 1
        for block in gone.tolist():
            held.pop(block)
        try:
            if round_ % 4 == 3:
                file.flush()
        except TransferError:
            failures += 1
    return failures


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("direct", [False, None], ids=["buffered", "direct"])
def test_every_call_fails_once(tmp_path, fault, direct):
    """A run of some hundred calls, again and again, another one failing each time: no page is lost unreported.

    `make test-long` has every single call fail; here it is every eleventh, fewer where each waits for the device.
    """
    with FileBackend(tmp_path / "swap", BLOCKS, create=True, direct=direct, discard=True) as file:
        file.fault = Faults(-1, None)
        assert run_of_io(file, 0) == 0
        total = len(file.fault.asked)
        assert 100 < total <= 2000
        assert [call for call, _, _ in file.fault.asked] == list(range(total))
        for at in range(0, total, 11 if direct is False else 41):
            begin = file.counts()["calls"]
            hook = file.fault = Faults(begin + at, FAULTS[fault])
            failures = run_of_io(file, 0)
            operation = next((op for call, op, _ in hook.asked if call == begin + at), None)
            if FAULTS[fault] == SHORT and operation in ("read", "write"):
                assert failures == 0        # the rest was asked for again
            elif operation is not None:
                assert failures >= 1
        assert file.counts()["shorts"] > 0 or FAULTS[fault] != SHORT


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_every_single_call_fails_once(tmp_path, fault):
    with FileBackend(tmp_path / "swap", BLOCKS, create=True, direct=False, discard=True) as file:
        hook = file.fault = Faults(-1, None)
        run_of_io(file, 1, 25)
        for at in range(len(hook.asked)):
            file.fault = Faults(file.counts()["calls"] + at, FAULTS[fault])
            run_of_io(file, 1, 25)


def test_short_transfers_go_on_where_they_ended(file):
    """Even when every call is short: halves of halves, down to sectors."""
    file.fault = lambda call, operation, nbytes: SHORT if nbytes > 512 else None
    pages = mix(20, 9, {"noise": 1.0})
    blocks = np.r_[np.arange(30, 40)[::-1], 80:90]
    file.write_many(pages, blocks)
    assert (file.read_many(blocks) == pages).all()
    assert file.counts()["shorts"] > 20
    file.fault = None


def test_errors_say_what_was_done(plain):
    pages = mix(6, 10, {"noise": 1.0})
    plain.fault = Faults(1, errno.ENOSPC)
    with pytest.raises(TransferError, match=r"write of block 20 .*No space.*3 of 6") as caught:
        plain.write_many(pages, [30, 10, 20, 11, 12, 21])
    e = caught.value
    assert e.errors.tolist() == [errno.ECANCELED, 0, errno.ENOSPC, 0, 0, errno.ECANCELED]
    assert (e.errno, e.index, e.done) == (errno.ENOSPC, 2, 3)
    plain.fault = None
    assert (plain.read_many([10, 11, 12]) == pages[[1, 3, 4]]).all()
    assert not plain.read_many([20, 21, 30]).any()


def test_a_hook_that_raises_is_an_eio(plain):
    def hook(call, operation, nbytes):
        raise RuntimeError

    plain.fault = hook
    assert plain.fault is hook
    with pytest.raises(TransferError) as caught:
        plain.read_many([1])
    assert caught.value.errno == errno.EIO
    with pytest.raises(TransferError):
        plain.flush()


def test_it_is_a_backend(plain):
    assert isinstance(plain, Backend)
    assert (plain.kind, plain.chooses) == ("file", False)
