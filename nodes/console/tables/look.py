"""`draftwire tables list` and `draftwire tables show`: the sets that are here, and what is in one."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from draftwire.codecs.tables import Rung, TableSet, table_set_bytes
from draftwire.nodes.console.escape import json_line, safe
from draftwire.nodes.console.tables.told import size_words
from draftwire.nodes.models.tables import load_tables, shipped_tables, tables_folder, unnamed_files
from draftwire.runtime.errors import ConfigurationError


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables list`."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables show`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="of a set")
    parser.add_argument("--json", action="store_true", help="one JSON object")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A file of a set, or of what should be one."""

    path: Path
    tables: TableSet | None
    problem: str = ""
    "why it is left out"
    in_use: bool = False
    "the first of its vocabulary"
    written_s: float | None = None
    "seconds since 1970; None: shipped, or not there any more"


def run_list(args: argparse.Namespace) -> int:
    """The sets that commands find by themselves, in the order of use.

    A pair uses the sets of its own vocabulary: the shipped pair's first, then those in your tables folder,
    the newest first. To use another one name it with --tables or in [pair] tables; to do without one of
    yours delete its file.
    """
    found = listed()
    folder = tables_folder()
    if args.json:
        sets = [_summary(one.path, one.tables) | _standing(one) for one in found]
        print(json_line({"folder": str(folder), "sets": sets}))
        return 0
    lines = _lines(found, now_s=time.time()) or ["no sets: rows are plain"]
    console = Console()
    for line in [*lines, f"your tables folder: {safe(str(folder))}"]:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return 0


def listed() -> list[Listed]:
    """All files that are looked at where none is named, in order of use; then those that can't be used."""
    usable, others = list[Listed](), list[Listed]()
    vocabularies, tags = set[tuple[int, bytes]](), set[bytes]()

    def skipped(path: Path, why: str) -> None:
        others.append(Listed(path=path, tables=None, problem=why))

    for path in unnamed_files(skipped=skipped):
        if path == shipped_tables() and not path.exists():
            continue
        one, problem = _read(path)
        written_s = None if path == shipped_tables() else _written_s(path)
        if one is None:
            others.append(Listed(path=path, tables=None, problem=problem, written_s=written_s))
            continue
        if one.tag in tags:
            problem = "a copy of one before it"
        vocabulary = one.vocab_size, one.fingerprint
        first = vocabulary not in vocabularies
        usable.append(Listed(path=path, tables=one, problem=problem, in_use=first, written_s=written_s))
        vocabularies.add(vocabulary)
        tags.add(one.tag)
    return usable + others


def _lines(found: Sequence[Listed], *, now_s: float) -> list[str]:
    """Of each vocabulary its sets in the order of use; labels and paths have lines of their own."""
    by_vocabulary = dict[tuple[int, bytes], list[tuple[Listed, TableSet]]]()
    for one in found:
        if one.tables is not None:
            vocabulary = one.tables.vocab_size, one.tables.fingerprint
            by_vocabulary.setdefault(vocabulary, []).append((one, one.tables))
    lines = list[str]()
    for (vocab_size, fingerprint), sets in by_vocabulary.items():
        lines += [f"vocabulary of {vocab_size} ids, fingerprint {fingerprint.hex()}, in the order of use:"]
        for number, (one, tables) in enumerate(sets, 1):
            most = max(len(rung.tables) for rung in tables.rungs)
            parts = [
                f"set {tables.hash.hex()}",
                f"K from {tables.rungs[0].k} to {tables.rungs[-1].k}",
                f"up to {most} {'table' if most == 1 else 'tables'} a K",
                size_words(len(table_set_bytes(tables))),
                "shipped" if one.written_s is None else age_words(now_s - one.written_s),
            ]
            lines.append(f"{'*' if one.in_use else ' '} {number}. " + ", ".join(parts))
            label = safe(tables.label) + (f" ({one.problem})" if one.problem else "")
            lines += [f"     {label}", f"     {safe(str(one.path))}"]
        lines.append("")
    if lines:
        lines += ["*: in use, where both ends have it and none is named", ""]
    wrong = [one for one in found if one.tables is None]
    for one in wrong:
        lines += [f"left out: {safe(one.problem)}", f"     {safe(str(one.path))}"]
    if wrong:
        lines += ["     copy it again, or delete the file", ""]
    return lines


def age_words(age_s: float) -> str:
    """How old a file is, in the unit that says most."""
    for name, size_s in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(age_s // size_s)
        if count >= 1:
            return f"{count} {name}{'s' if count > 1 else ''} old"
    return "new"


def _written_s(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _standing(one: Listed) -> dict[str, Any]:
    return {"problem": one.problem, "in_use": one.in_use, "written_s": one.written_s}


def run_show(args: argparse.Namespace) -> int:
    """What is in a file of tables: whose vocabulary, and for each K how many tables and of what shape."""
    try:
        one = load_tables(args.file)
    except ConfigurationError as error:
        raise error.placed(key="FILE") from None
    show_set(one, path=args.file, as_json=args.json)
    return 0


def show_set(one: TableSet, *, path: Path, as_json: bool) -> None:
    """What is in a set that was found in the file at `path`."""
    if as_json:
        print(json_line({**_summary(path, one), "rungs": [_shape(rung) for rung in one.rungs]}))
        return
    console = Console()
    size = len(table_set_bytes(one))
    console.print(f"set {one.hash.hex()}: {safe(one.label)}", soft_wrap=True, highlight=False, markup=False)
    console.print(
        f"{size_words(size)}; vocabulary of {one.vocab_size} ids, fingerprint {one.fingerprint.hex()}",
        highlight=False,
    )
    shown = Table(box=SIMPLE_HEAD)
    for name in ("K", "tables", "front", "head", "buckets", "behind it", "bits an entry"):
        shown.add_column(name, justify="right")
    for rung in one.rungs:
        row = _shape(rung)
        names = ("k", "tables", "front", "head", "buckets", "tail_buckets")
        bits = f"{row['bits_per_entry']:.2f}" if row["row_bits"] else "-"
        shown.add_row(*(str(row[name]) for name in names), bits)
    console.print(shown)
    console.print(
        "front: ids that each table has in an order of its own; head: ranks with a bit of their own; then "
        "buckets of the front, and behind it. Head and buckets are means of the tables. Bits an entry: "
        "levels included, on the text that the set was learnt from."
    )


def _read(path: Path) -> tuple[TableSet | None, str]:
    """The set, or None and what is wrong."""
    try:
        return load_tables(path), ""
    except ConfigurationError as error:
        return None, error.problem


def _summary(path: Path, one: TableSet | None) -> dict[str, Any]:
    known = {"file": str(path), "shipped": path == shipped_tables()}
    if one is None:
        return known
    return known | {
        "hash": one.hash.hex(),
        "label": one.label,
        "vocab_size": one.vocab_size,
        "fingerprint": one.fingerprint.hex(),
        "file_bytes": len(table_set_bytes(one)),
        "k": [rung.k for rung in one.rungs],
        "most_tables": max(len(rung.tables) for rung in one.rungs),
    }


def _shape(rung: Rung) -> dict[str, Any]:
    count = len(rung.tables)
    return {
        "k": rung.k,
        "tables": count,
        "front": len(rung.tables[0].front),
        "head": round(sum(table.head for table in rung.tables) / count),
        "buckets": round(sum(len(table.widths) for table in rung.tables) / count),
        "tail_buckets": len(rung.tail_widths),
        "row_bits": rung.row_bits,
        "bits_per_entry": round(rung.row_bits / rung.k, 4),
    }


__all__ = [
    "Listed",
    "add_list_arguments",
    "add_show_arguments",
    "age_words",
    "listed",
    "run_list",
    "run_show",
    "show_set",
]
