"""Golden vectors. `pytest tests/codecs --write-golden` rewrites them; that breaks every peer in the field."""

import json
import re
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from tests.codecs.golden_cases import BLOCKS, CASES, SEQUENCE, SESSION, described, sections, sparse_logits
from tests.codecs.golden_refused import BLOCKS as WRONG_BLOCKS
from tests.codecs.golden_refused import SETS as THEIR_SETS
from tests.codecs.golden_refused import TABLE_FILES
from tests.codecs.golden_tables import RANKED, TABLES
from tests.codecs.second_implementation import without_padding

from draftwire.codecs.blocks import decode_rows, encode_ranked, encode_rows
from draftwire.codecs.errors import WireError
from draftwire.codecs.frame import decode_frame, encode_frame
from draftwire.codecs.hashes import rows_hash
from draftwire.codecs.tables import by_tag, table_set_bytes, table_set_from

GOLDEN = Path(__file__).parent / "golden"

FRAMES = {
    name: {
        "message": type(message).__name__,
        "session": SESSION,
        "sequence": SEQUENCE,
        "fields": described(message),
        "frame": encode_frame(message, session=SESSION, sequence=SEQUENCE).hex(),
    }
    for name, message in CASES.items()
}
SETS = by_tag([TABLES])
ROWS = {
    name: {
        "rows": described(rows),
        "rows_hash": rows_hash(rows).hex(),
        "sections": sections(block, SETS),
        "block": block.hex(),
    }
    for name, rows, block in (
        *((name, rows, encode_rows(rows)) for name, rows in BLOCKS.items()),
        *((name, rows, encode_ranked(rows, TABLES)) for name, rows in RANKED.items()),
    )
}
RANKED_ROWS = sparse_logits(RANKED["tables_small"])
TABLE_SET = {
    "set": described(TABLES),
    "hash": TABLES.hash.hex(),
    "file": table_set_bytes(TABLES).hex(),
}


def held_to(path: Path, value: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """The golden value on disk, after it has been compared with, or replaced by, ours."""
    if request.config.getoption("--write-golden"):
        text = json.dumps(value, indent=1, ensure_ascii=False)
        lists = re.compile(r"\[\s+(\d[\d,\s]*?)\s+\]")  # of numbers: on one line each
        text = lists.sub(lambda match: f"[{' '.join(match[1].split())}]", text)
        path.write_text(text + "\n", encoding="utf-8")
    golden: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    assert value == golden
    return golden


@pytest.mark.parametrize("name", FRAMES)
def test_frames(name: str, request: pytest.FixtureRequest) -> None:
    """A message of each kind has the bytes it had when the wire was fixed, and they read back."""
    golden = held_to(GOLDEN / f"frame_{name}.json", FRAMES[name], request)
    frame = decode_frame(bytes.fromhex(golden["frame"]))
    assert (frame.session, frame.sequence) == (golden["session"], golden["sequence"])
    assert frame.message == CASES[name]


@pytest.mark.parametrize("name", ROWS)
def test_blocks(name: str, request: pytest.FixtureRequest) -> None:
    """A block of rows of each mode and profile has its bytes, sections, weights and hash, and reads back."""
    golden = held_to(GOLDEN / f"rows_{name}.json", ROWS[name], request)
    assert decode_rows(bytes.fromhex(golden["block"]), tables=SETS) == (BLOCKS | RANKED)[name]


def test_table_set(request: pytest.FixtureRequest) -> None:
    """The set of tables that blocks of mode 1 are spelt with has its file and its hash, and reads back."""
    golden = held_to(GOLDEN / "tables.json", TABLE_SET, request)
    assert table_set_from(bytes.fromhex(golden["file"])) == TABLES


def test_padded_frames(request: pytest.FixtureRequest) -> None:
    """A frame of each plane has its bytes when it is padded to a multiple of 64, and reads back."""
    names = ("ping", "commit", "draft", "plan_order")
    padded = {
        name: encode_frame(CASES[name], session=SESSION, sequence=SEQUENCE, pad_to=64).hex() for name in names
    }
    for name, data in held_to(GOLDEN / "padded_frames.json", padded, request).items():
        frame = decode_frame(bytes.fromhex(data))
        assert frame.message == CASES[name]
        assert without_padding(bytes.fromhex(data)).hex() == FRAMES[name]["frame"]


def test_refused_frames(request: pytest.FixtureRequest) -> None:
    """Each frame of a list of wrong ones is refused for the reason, and at the bit, written beside it."""
    refused: dict[str, Any] = {}
    for name, data in wrong_frames().items():
        with pytest.raises(WireError) as caught:
            decode_frame(data)
        refused[name] = {"frame": data.hex(), "reason": caught.value.reason.value, "bit": caught.value.offset}
    held_to(GOLDEN / "refused_frames.json", refused, request)


def test_refused_blocks(request: pytest.FixtureRequest) -> None:
    """So is each block of a list; those of mode 1 are refused by an end that has two sets of tables."""
    sets = by_tag(THEIR_SETS)
    refused: dict[str, Any] = {"tables": [table_set_bytes(tables).hex() for tables in THEIR_SETS]}
    for name, data in WRONG_BLOCKS.items():
        with pytest.raises(WireError) as caught:
            decode_rows(data, tables=sets)
        refused[name] = {"block": data.hex(), "reason": caught.value.reason.value, "bit": caught.value.offset}
    held_to(GOLDEN / "refused_blocks.json", refused, request)


def test_refused_tables(request: pytest.FixtureRequest) -> None:
    """So is each file of a list; the bit is where reading had come when it showed."""
    refused: dict[str, Any] = {}
    for name, data in TABLE_FILES.items():
        with pytest.raises(WireError) as caught:
            table_set_from(data)
        refused[name] = {"file": data.hex(), "reason": caught.value.reason.value, "bit": caught.value.offset}
    held_to(GOLDEN / "refused_tables.json", refused, request)


def wrong_frames() -> dict[str, bytes]:
    """Frames that are each wrong in one way, with a CRC that fits where the wrong lies behind it."""

    def resealed(data: bytes) -> bytes:
        return data[:10] + crc32(data[14:], crc32(data[:10])).to_bytes(4, "big") + data[14:]

    def set_to(data: bytes, place: int, byte: int) -> bytes:
        return resealed(data[:place] + bytes([byte]) + data[place + 1 :])

    ping, draft, commit, order, opening, probe, echo, hello, welcome, report, opened, nothing_more = (
        bytes.fromhex(str(FRAMES[name]["frame"]))
        for name in (
            *("ping", "draft", "commit", "plan_order", "open", "probe", "echo"),
            *("hello_tables", "welcome_tables", "rows_report", "opened_pending", "draft_nothing_more"),
        )
    )
    rows = bytes.fromhex(str(FRAMES["sparse_logits_plain"]["frame"]))
    padded = encode_frame(CASES["ping"], session=SESSION, sequence=SEQUENCE, pad_to=64)
    return {
        "empty": b"",
        "cut in the envelope": ping[:13],
        "another version": b"\xd1" + ping[1:],
        "damaged": ping[:-1] + b"\0",
        "unknown kind": resealed(ping[:1] + b"\x3f" + ping[2:]),
        "cut in the body": resealed(ping[:-1]),
        "a byte behind the body": resealed(ping + b"\0"),
        "hello: 9 sets of tables": resealed(hello[:29] + b"\x09" + hello[30:]),
        "hello: fewer sets of tables than named": resealed(hello[:29] + b"\x03" + hello[30:]),
        "hello: more sets of tables than named": resealed(hello[:29] + b"\x01" + hello[30:]),
        "welcome: agreed neither 0 nor 1": resealed(welcome[:18] + b"\x02" + welcome[19:]),
        "welcome: agreed, and no set": resealed(welcome[:-8]),
        "welcome: not agreed, and a set": resealed(welcome[:18] + b"\x00" + welcome[19:]),
        "33 drafted ids": set_to(draft, 69, 33),
        "unknown flag": set_to(draft, 68, 4),
        "draft: weights, and not the last of its epoch": set_to(draft, 68, 2),
        "draft: no ids, and not the last of its epoch": set_to(nothing_more, 68, 0),
        "draft: no ids, and weights": set_to(nothing_more, 68, 3),
        "plan: an unknown flag": set_to(draft, 51, 4),
        "plan: all flags there might be": set_to(commit, 49, 255),
        "plan: tested as a block, and stopped early": set_to(draft, 51, 3),
        "plan of a pending block: an unknown flag": set_to(opened, 72, 4),
        "plan: min_draft above gamma": set_to(draft, 50, 4),
        "a gamma fixed at 33": set_to(opening, 56, 33),
        "a min_draft fixed at 33": set_to(opening, 57, 33),
        "open: an acceptance that there is not": set_to(opening, 58, 3),
        "open: a block outstanding, and acceptance by coupling": set_to(opening, 58, 1),
        "open: a block outstanding, and acceptance not settled": set_to(opening, 58, 2),
        "outstanding neither 0 nor 1": set_to(opening, 63, 2),
        "opened: an acceptance that is not settled": set_to(opened, 38, 2),
        "opened: an acceptance that there is not": set_to(opened, 38, 3),
        "opened: pending neither 0 nor 1": set_to(opened, 53, 2),
        "commit: missing neither 0 nor 1": set_to(commit, 67, 2),
        "unknown origin": resealed(commit[:-3] + b"\xf0" + commit[-2:]),
        "id beyond the largest vocabulary": resealed(commit[:-3] + b"\x24" + commit[-2:]),
        "stop string not UTF-8": resealed(opening.replace(b"Ende", b"End\xff")),
        "probe: padding that is not zero": resealed(probe[:-1] + b"\x01"),
        "probe: more padding than named": resealed(probe + b"\0"),
        "echo: less padding than named": resealed(echo[:-1]),
        "echo: a clock at negative zero": resealed(echo[:22] + b"\x80" + bytes(7) + echo[30:]),
        "echo: a clock before 1970": resealed(echo[:22] + b"\xbf\xf0" + bytes(6) + echo[30:]),
        "rows: a mode that there is not": resealed(rows[:30] + b"\x30" + rows[31:]),
        "rows: a profile that mode 0 does not have": resealed(rows[:30] + b"\x02" + rows[31:]),
        "rows: by a set of tables that is not here": encode_frame(
            RANKED_ROWS, session=SESSION, sequence=SEQUENCE, tables=TABLES
        ),
        "rows: padding": resealed(rows[:-1] + bytes([rows[-1] | 1])),
        "padding: not zero": set_to(padded, len(padded) - 3, 1),
        "padding: of 1 byte": set_to(padded, len(padded) - 1, 1),
        "padding: more than the limit": set_to(padded, len(padded) - 2, 17),
        "padding: more than there is": set_to(padded, len(padded) - 2, 1),
        "padding: cut in its count": resealed(padded[:10] + bytes(4) + b"\x02"),
        "padding: less than there is": set_to(padded, len(padded) - 1, padded[-1] - 1),
        "padding: of an unknown kind": set_to(padded, 1, 0xBF),
        "control: no JSON": resealed(order[:14] + b"{"),
        "control: unknown key": resealed(order.replace(b'"k"', b'"K"')),
        "control: wrong type": resealed(order.replace(b"320", b'"3"')),
        "control: out of range": resealed(order.replace(b"320", b"0")),
        "control: a hash in capitals": resealed(report.replace(b"2021222324252627", b"20212223242526FF")),
        "control: half a hash": resealed(report.replace(b"2021222324252627", b"20212223")),
        "control: an acceptance that there is not": resealed(order.replace(b"rejection", b"auto")),
        "control: a plan tested as a block, and stopped early": resealed(
            order.replace(b'"early_stop":false', b'"early_stop":true')
        ),
        "control: preferred, of one request": resealed(
            order.replace(b'"preferred":false', b'"preferred":true')
        ),
        "control: a list of another length": resealed(report.replace(b"[0.625,0.46875]", b"[0.625]")),
        "control: white space": resealed(order.replace(b"320", b" 320")),
    }
