# The header page as bytes: every header survives the page, and every refusal has its own message.
# May import the package; no file is opened.
# Used by pytest.
import struct
import sys
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaptable import SwapValueError
from swaptable._swapheader import MAX_PAGES, PAGE_SIZES, SwapHeader, max_bad_pages, parse_header

UUID = uuid.UUID("c1b9d5a2-f162-11cf-9ece-0020afc76f16")


@st.composite
def headers(draw):
    size = draw(st.sampled_from(PAGE_SIZES))
    last = draw(st.integers(1, MAX_PAGES) | st.integers(1, 700))
    bad = draw(st.lists(st.integers(1, last), unique=True, max_size=min(last - 1, max_bad_pages(size), 40)))
    label = draw(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=16))
    label = label.encode()[:16].decode(errors="ignore")
    return SwapHeader(last, tuple(bad), draw(st.uuids()), label, size, draw(st.sampled_from(["little", "big"])))


@given(headers(), st.booleans())
def test_round_trip(header, known):
    page = header.to_bytes()
    assert len(page) == header.page_size
    assert parse_header(page, header.page_size if known else None) == header


@pytest.mark.parametrize("order", ["little", "big"])
def test_every_field_is_where_the_format_says(order):
    page = SwapHeader(511, (7, 300), UUID, "scratch", 4096, order).to_bytes()
    assert page[:1024] == bytes(1024)
    assert page[1024:1036] == b"".join(value.to_bytes(4, order) for value in (1, 511, 2))
    assert page[1036:1052] == UUID.bytes  # In the same order on every machine.
    assert page[1052:1068] == b"scratch" + bytes(9)
    assert page[1068:1536] == bytes(468)
    assert page[1536:1544] == b"".join(value.to_bytes(4, order) for value in (7, 300))
    assert page[1544:] == bytes(4096 - 10 - 1544) + b"SWAPSPACE2"


@pytest.mark.parametrize("size", PAGE_SIZES)
def test_the_signature_tells_the_page_size(size):
    page = SwapHeader(9, page_size=size).to_bytes().ljust(65536, b"x")
    assert parse_header(page).page_size == size
    assert parse_header(page, size).page_size == size


def test_a_full_list_of_bad_pages():
    assert max_bad_pages() == 637
    header = SwapHeader(1000, tuple(range(1, 638)))
    assert parse_header(header.to_bytes()).bad == tuple(range(1, 638))
    assert header.good_pages == 1000 - 637


def test_sizes_as_the_kernel_counts_them():
    assert (SwapHeader(1).pages, SwapHeader(1).size) == (2, 8192)
    assert SwapHeader(MAX_PAGES).pages == MAX_PAGES  # 2**32 pages do not fit its unsigned int.


def page(version=1, last=511, bad=(), nr_bad=None, magic=b"SWAPSPACE2", order="<", size=4096):
    data = bytearray(size)
    struct.pack_into(f"{order}3I", data, 1024, version, last, len(bad) if nr_bad is None else nr_bad)
    struct.pack_into(f"{order}{len(bad)}I", data, 1536, *bad)
    data[-10:] = magic
    return bytes(data)


NATIVE = 2 if sys.byteorder == "little" else 2 << 24
UNSIGNED = "area has no swap signature; expected SWAPSPACE2 in the last 10 bytes of its first page"
OLD = "area has the signature SWAP-SPACE of version 0, which Linux has not taken since 2.5.22"
ROOM = "bad pages; expected at most 637 with pages of 4096 bytes"
REFUSED = {
    "no signature": (page(magic=b"SWAPSPACE3"), UNSIGNED),
    "no page": (b"", UNSIGNED),
    "old signature": (page(magic=b"SWAP-SPACE"), OLD),
    "version": (page(version=2, order="<"), f"area has version {NATIVE}; expected 1"),
    "no page but the header": (page(last=0), "area is empty: its last page is 0, the header"),
    "too many bad pages": (page(bad=range(1, 638), nr_bad=638, last=2000), f"area lists 638 {ROOM}"),
    "far too many": (page(nr_bad=0xFFFFFFFF), f"area lists 4294967295 {ROOM}"),
    "the header is bad": (page(bad=[0]), "area lists bad page 0; expected 1 to 511"),
    "past the end": (page(bad=[5, 512]), "area lists bad page 512; expected 1 to 511"),
    "duplicate": (page(bad=[5, 6, 5]), "area lists bad page 5 twice"),
    "no good page": (page(last=3, bad=[1, 2, 3]), "area is empty: all its 3 pages are bad"),
}


@pytest.mark.parametrize(("data", "message"), REFUSED.values(), ids=REFUSED)
def test_each_refusal_has_its_message(data, message):
    with pytest.raises(SwapValueError) as caught:
        parse_header(data, name="area")
    assert caught.value.strerror == message


def test_a_list_of_bad_pages_in_a_regular_file():
    data = page(bad=[5, 9])
    assert parse_header(data).bad == (5, 9)
    with pytest.raises(SwapValueError, match=r"x lists 2 bad pages; expected none, since it is a regular file$"):
        parse_header(data, regular=True, name="x")


def test_the_page_size_asked_for():
    data = page(size=16384).ljust(65536, b"\0")
    with pytest.raises(SwapValueError, match="x was made for pages of 16384 bytes; expected 4096"):
        parse_header(data, 4096, name="x")
    with pytest.raises(SwapValueError, match="page_size is 5000; expected one of 4096, 8192, 16384, 32768, 65536"):
        parse_header(data, 5000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"last_page": 0}, "last_page is 0; expected 1 to 4294967295"),
        ({"last_page": 1 << 32}, "last_page is 4294967296; expected 1 to 4294967295"),
        ({"last_page": 9, "page_size": 512}, "page_size is 512; expected one of"),
        ({"last_page": 9, "byteorder": "native"}, "byteorder is 'native'; expected 'little' or 'big'"),
        ({"last_page": 9, "version": 0}, "version is 0; expected 1"),
        ({"last_page": 9, "label": "0123456789abcdefg"}, "label is '0123456789abcdefg'; expected at most 16 bytes"),
        ({"last_page": 9, "label": "a\0b"}, "none of them 0"),
        ({"last_page": 9, "bad": (10,)}, "the header lists bad page 10; expected 1 to 9"),
        ({"last_page": 9, "bad": (1, 1)}, "the header lists bad page 1 twice"),
        ({"last_page": 999, "bad": tuple(range(1, 639))}, "the header lists 638 bad pages; expected at most 637"),
    ],
)
def test_a_header_that_cannot_be(fields, message):
    with pytest.raises(SwapValueError, match=message):
        SwapHeader(**fields)
