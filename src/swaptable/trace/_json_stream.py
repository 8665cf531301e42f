# JSON read piece by piece: values on demand from a stream that need not fit in memory.
# Imports the errors and the standard library.
# Used by damo.py.
"""A pull parser over pieces of text: the caller walks the outer structure and takes whole values where it likes."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from ..errors import TraceError

_MOST = 1 << 28
_BLANKS = " \t\n\r"


class JsonStream:
    """The text that *chunks* make together; *where* names it in messages, which count bytes of content.

    Only the value at hand is held, with what was read ahead of it.
    """

    def __init__(self, chunks: Iterator[bytes], where: str) -> None:
        self._chunks, self._where = chunks, where
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text, self._at, self._dropped = "", 0, 0

    def _more(self) -> bool:
        """Read on, dropping what was used; whether there was more."""
        self._dropped = self.place()
        parts, size = [self._text[self._at :]], 0
        self._at = 0
        # As much again as is there, so that a large value is not parsed for every piece of it.
        while size <= len(parts[0]) and (chunk := next(self._chunks, None)) is not None:
            try:
                parts.append(self._decode(chunk))
            except UnicodeDecodeError as err:
                raise self.error("UTF-8 text", f"{chunk[err.start : err.start + 4]!r}") from err
            size += len(parts[-1])
        self._text = "".join(parts)
        return size > 0

    def place(self) -> int:
        """Return the number of bytes of content before what stands here."""
        return self._dropped + (self._at if self._text.isascii() else len(self._text[: self._at].encode()))

    def error(self, expected: str, found: str | None = None, place: int | None = None) -> TraceError:
        """Return the exception for what stands here, or at *place*."""
        ahead = self._text[self._at : self._at + 40]
        found = found or (repr(ahead) if ahead else "the end")
        place = self.place() if place is None else place
        return TraceError(f"{self._where}: byte {place}: expected {expected}, found {found}")

    def peek(self) -> str:
        """Return the next character that is no blank, "" at the end; it stays."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in _BLANKS:
                    return self._text[self._at]
                self._at += 1
            if not self._more():
                return ""

    def take(self, characters: str, expected: str) -> str:
        """Return the next character, which must be one of *characters*, and go on behind it."""
        character = self.peek()
        if not character or character not in characters:
            raise self.error(expected)
        self._at += 1
        return character

    def value(self, what: str) -> Any:
        """Return the value that stands here, whole; *what* names it in messages."""
        self.peek()
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as err:
                offset = err.pos - self._at
                if not self._cut_off(err) or not self._more():
                    self._at = min(self._at + offset, len(self._text))
                    raise self.error(f"{what}, as JSON ({err.msg})") from err
                continue
            except RecursionError as err:
                raise self.error(f"{what}, as JSON (not so deep)") from err
            length = end - self._at
            if not self._may_go_on(value, end) or not self._more():
                self._at += length
                return value

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Whether a number that ends here may go on in what is not read yet, as 1 does in 1e5."""
        left = len(self._text) - end
        return isinstance(value, (int, float)) and (not left or (left < 3 and self._text[end] in ".eE"))

    def _cut_off(self, err: json.JSONDecodeError) -> bool:
        """Whether more text may mend what is wrong: a literal is short, only a string may have begun far back."""
        at_end = err.pos >= len(self._text) - 16 or err.msg.startswith("Unterminated string")
        return at_end and len(self._text) - self._at < _MOST

    def items(self, brackets: str, expected: str) -> Iterator[None]:
        """Stand at one item after the other of a list ("[]") or an object ("{}"); the caller takes each."""
        self.take(brackets[0], expected)
        if self.peek() == brackets[1]:
            self.take(brackets[1], expected)
            return
        while True:
            yield
            if self.take("," + brackets[1], f"',' or {brackets[1]!r}") == brackets[1]:
                return
