"""`draftwire tables list` and `draftwire tables show`: the sets that are here, and what is in one."""

import argparse
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from draftwire.codecs.tables import Rung, TableSet, table_set_bytes
from draftwire.nodes.console.escape import json_line, safe
from draftwire.nodes.models.tables import SUFFIX, load_tables, shipped_tables, tables_folder
from draftwire.runtime.errors import ConfigurationError


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables list`."""
    parser.add_argument("--json", action="store_true", help="one JSON object")


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `draftwire tables show`."""
    parser.add_argument("file", metavar="FILE", type=Path, help="of a set")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run_list(args: argparse.Namespace) -> int:
    """The sets that commands find by themselves: the shipped pair's, and those in your tables folder.

    A pair uses those of its own vocabulary, the newest first. To do without one, delete its file.
    """
    folder = tables_folder()
    paths = [*sorted(folder.glob(f"*{SUFFIX}")), *([shipped_tables()] if shipped_tables().is_file() else [])]
    found = [(path, *_read(path)) for path in paths]
    if args.json:
        sets = [{**_summary(path, one), "problem": problem} for path, one, problem in found]
        print(json_line({"folder": str(folder), "sets": sets}))
        return 0
    console = Console()
    shown = Table(box=SIMPLE_HEAD)
    for name in ("set", "vocabulary", "K", "tables", "MB"):
        shown.add_column(name, no_wrap=True)
    shown.add_column("label, and where it is", overflow="fold")
    for path, one, problem in found:
        if one is None:
            shown.add_row("-", "", "", "", "", Text(safe(problem)))
            continue
        shown.add_row(
            one.hash.hex(),
            str(one.vocab_size),
            f"{one.rungs[0].k}-{one.rungs[-1].k}",
            str(max(len(rung.tables) for rung in one.rungs)),
            f"{len(table_set_bytes(one)) / 1e6:.2f}",
            Text(f"{safe(one.label)}\n{'shipped' if path == shipped_tables() else safe(str(path))}"),
        )
    if found:
        console.print(shown)
    else:
        console.print("no sets: rows are plain")
    console.print(f"your tables folder: {folder}", soft_wrap=True, highlight=False)
    return 0


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
        f"{size / 1e6:.2f} MB; vocabulary of {one.vocab_size} ids, fingerprint {one.fingerprint.hex()}",
        highlight=False,
    )
    shown = Table(box=SIMPLE_HEAD)
    for name in ("K", "tables", "front", "head", "buckets", "behind it", "bits an entry"):
        shown.add_column(name, justify="right")
    for rung in one.rungs:
        row = _shape(rung)
        names = ("k", "tables", "front", "head", "buckets", "tail_buckets")
        shown.add_row(*(str(row[name]) for name in names), f"{row['bits_per_entry']:.2f}")
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


__all__ = ["add_list_arguments", "add_show_arguments", "run_list", "run_show", "show_set"]
