# Codecs: every way to have one writes the same format; what is missing names the extra that brings it.
# Imports the package, page_mix.
# Used by pytest.
import errno
import subprocess
import sys

import numpy as np
import pytest
from page_mix import KINDS, PAGE, mix

from swaptable.backends import codec
from swaptable.backends._codec import Codec
from swaptable.errors import MissingCodecError, SwapError, SwapValueError

WAYS = [(name, source) for name in codec.CODECS for source in codec.SOURCES if (name, source) != ("lzo", "package")]


def have(name, source, level=None):
    try:
        return codec.find(name, level, source)
    except MissingCodecError as e:
        pytest.skip(str(e))


@pytest.mark.parametrize(("name", "source"), WAYS)
def test_what_one_way_packs_every_way_unpacks(name, source):
    one = have(name, source)
    for page in mix(40, seed=1):
        blob = one.compress(page)
        for other in codec.available(name):
            if len(blob) <= PAGE:
                assert other.decompress(blob) == page.tobytes()


@pytest.mark.parametrize("name", ["lz4", "zstd", "lzo"])
def test_tests_have_every_codec(name):
    """What the extra `test` brings is enough for each, whatever the system has."""
    assert codec.find(name, source="python").native is False
    assert list(codec.available(name))


@pytest.mark.parametrize(("name", "source"), WAYS)
def test_damage_is_an_error(name, source):
    one = have(name, source)
    blob = one.compress(KINDS["text"](np.random.default_rng(3)))
    for bad in (b"", blob[:-7], b"\xff" * 60, bytes(PAGE + 1)):
        with pytest.raises(SwapError) as caught:
            one.decompress(bad)
        assert caught.value.errno == errno.EIO


@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 8192])
def test_only_pages(size):
    with pytest.raises(SwapValueError, match=str(size)):
        codec.find("lz4").compress(bytes(size))


@pytest.mark.parametrize("name", codec.CODECS)
def test_the_newest_is_taken(name):
    native = [one for one in codec.available(name) if one.native]
    taken = codec.find(name)
    assert taken.version == max((one.version for one in native), default=0)
    assert taken.native == bool(native)


def test_levels():
    page = mix(1, 5, {"text": 1.0})[0]
    small, large = (len(codec.find("zstd", level).compress(page)) for level in (19, -7))
    assert small < large
    assert codec.find("zstd-1").level == 1
    assert codec.find("lz4", 8).level == 8
    assert codec.find("zstd-3", source="python").level == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: codec.find("lzma"), "lzma"),
        (lambda: codec.find("zstd", 23), "23"),
        (lambda: codec.find("zstd-99"), "99"),
        (lambda: codec.find("lz4", 0), "level 0"),
        (lambda: codec.find("lz4", source="attic"), "attic"),
        (lambda: Codec("lz4"), "path or an adapter"),
        (lambda: list(codec.available("lzma")), "lzma"),
    ],
)
def test_bad_wishes_are_named(call, message):
    with pytest.raises(SwapValueError, match=message):
        call()


def test_a_library_without_the_functions():
    with pytest.raises(OSError, match="no-such-library"):
        Codec("lz4", path="no-such-library.so")
    with pytest.raises(OSError, match="LZ4_compress_fast"):
        Codec("lz4", path="libc.so.6")


@pytest.mark.parametrize("name", codec.CODECS)
def test_missing_codecs_name_the_extra(name, monkeypatch):
    monkeypatch.setattr(codec, "_SYSTEM", dict.fromkeys(codec.CODECS, "libnot-here.so.9"))
    monkeypatch.setattr(codec, "_PACKAGE", {})
    for package in ("cramjam", "lzallright"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingCodecError, match=r"swaptable\[compress\]") as caught:
        codec.find(name)
    assert name in str(caught.value)
    assert list(codec.available(name)) == []


def test_import_loads_no_codec():
    packages = "cramjam", "lz4", "zstandard", "lzallright"
    code = f"import sys, swaptable.backends.codec; print([name for name in {packages} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


class Failing:
    library = "failing"

    def pack(self, src, dst):
        raise RuntimeError("no")

    def unpack(self, src, dst):
        dst[:3] = b"abc"
        return 3


def test_an_adapter_that_fails_is_an_error():
    broken = Codec("lz4", adapter=Failing())
    assert broken.library == "failing"
    for call in (lambda: broken.compress(bytes(PAGE)), lambda: broken.decompress(b"abc")):
        with pytest.raises(SwapError) as caught:
            call()
        assert caught.value.errno == errno.EIO


def test_decompress_many():
    one = codec.find("zstd")
    pages = mix(30, 7)
    blobs, lengths = np.zeros_like(pages), np.zeros(30, np.int32)
    for i, page in enumerate(pages):
        blob = one.compress(page)[:PAGE]
        blobs[i, : len(blob)], lengths[i] = np.frombuffer(blob, np.uint8), len(blob)
    fits = lengths < PAGE
    assert (one.decompress_many(blobs[fits], lengths[fits]) == pages[fits]).all()
    with pytest.raises(SwapValueError, match="3 lengths"):
        one.decompress_many(blobs, lengths[:3])
    lengths = lengths[fits]
    lengths[4] = 9
    with pytest.raises(SwapError) as caught:
        one.decompress_many(blobs[fits], lengths)
    assert caught.value.index == 4


def test_contexts_are_kept_and_counted():
    one = codec.find("zstd")
    assert one.context_bytes == 0
    one.compress(bytes(PAGE))
    first = one.context_bytes
    assert first > 8192
    for _ in range(5):
        one.compress(bytes(PAGE))
    assert one.context_bytes == first
