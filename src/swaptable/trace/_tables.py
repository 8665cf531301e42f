# What the trace commands print: tables for people, objects for programs.
# Imports the standard library only.
# Used by cli.py of this package.
"""Rows of the tables of ``swaptable trace``, and their printing."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO

SCHEMA = 1
_SIZE_ROWS = {"file": "{path}", "file size": "{file_bytes:,} bytes", "page size": "{page_size:,} bytes"}
RECORD_ROWS = {
    "command": "{command}",
    **_SIZE_ROWS,
    "tool": "{tool}, valgrind {valgrind}",
    "accesses": "{accesses:,}",
    "records": "{records:,} with a window of {window} pages",
    "address spaces": "{processes:,}",
    "exit status": "{exit_status}",
    "time": "{seconds:.1f} s",
}
INFO_ROWS = {
    **_SIZE_ROWS,
    "format": "{format}",
    "command": "{command}",
    "tool": "{tool}",
    "records": "{records:,}",
    "writes": "{writes:,} ({write_share:.1%})",
    "distinct pages": "{distinct_pages:,}",
    "footprint": "{footprint_bytes:,} bytes",
    "address spaces": "{processes:,}",
}
CONVERT_ROWS = {"from": "{source}, {source_format}", **_SIZE_ROWS, "format": "{format}", "records": "{records:,}"}
GENERATE_ROWS = {**_SIZE_ROWS, "format": "{format}", "SYNTHETIC": "{command}", "records": "{records:,}"}


@contextlib.contextmanager
def _opened(path: str | None) -> Iterator[TextIO | None]:
    if path is None:
        yield sys.stdout
        return
    with open(path, "w", encoding="utf-8") as out:
        yield out


def show(info: dict[str, Any], as_json: bool, rows: dict[str, str], output: str | None = None) -> None:
    """Print *info* by *rows*, names and formats, or as one JSON object; to the file *output*, or stdout."""
    with _opened(output) as out:
        if as_json:
            print(json.dumps({"schema": SCHEMA, **info}), file=out)
            return
        values = {key: "-" if value is None else value for key, value in info.items()}
        for name, text in rows.items():
            print(f"{name:16}{text.format(**values)}", file=out)


def show_list(infos: list[dict[str, Any]], as_json: bool, output: str | None) -> None:
    """Print a line for each of *infos*, or one JSON object with all."""
    with _opened(output) as out:
        if as_json:
            print(json.dumps({"schema": SCHEMA, "traces": infos}), file=out)
            return
        width = max(len(info["name"]) for info in infos)
        print(f"{'name':{width}}    records  writes   pages  window  file size  command", file=out)
        for info in infos:
            print(
                f"{info['name']:{width}}  {info['records']:9,}  {info['write_share']:6.1%}  {info['distinct_pages']:6,}"
                f"  {info['meta'].get('window', '-'):>6}  {info['file_bytes']:9,}  {info['command']}",
                file=out,
            )


def more_rows(info: dict[str, Any]) -> dict[str, str]:
    """Return the rows that only some traces have, of :func:`swaptable.trace.trace_info`."""
    meta, rows = info["meta"], {}
    if info["synthetic"]:
        said = ", ".join(f"{name}={value}" for name, value in meta.get("parameters", {}).items())
        rows["SYNTHETIC"] = f"no program did this: {meta.get('kind')}, {said}, seed={meta.get('seed')}"
    if info["expansion_of_samples"]:
        rows["EXPANSION"] = f"of DAMON's samples, not accesses: {meta.get('rule')} {meta.get('seed')}"
    if meta.get("window"):
        rows["recency window"] = f"{meta['window']} pages"
    if meta.get("object_pages"):
        rows["object pages"] = f"{meta['object_pages']:,} page numbers for each object"
    return {name: text.replace("{", "{{").replace("}", "}}") for name, text in rows.items()}


def warn(text: str) -> None:
    """Say something on stderr."""
    print(f"swaptable: warning: {text}", file=sys.stderr)
