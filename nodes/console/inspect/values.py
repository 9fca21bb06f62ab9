"""What was found, as plain values: a JSON object a frame."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from draftwire.codecs.anatomy import Anatomy, Block, Field
from draftwire.codecs.errors import WireError
from draftwire.codecs.rows import Row
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.inspect.examine import Examined, as_said, first_position, tokens_of
from draftwire.nodes.console.inspect.words import Vocabulary, Words

ALL: Final = 2**20
"""Entries of a row: more than there can be."""


def frame_values(one: Examined, words: Words, *, entries: int) -> dict[str, Any]:
    """Bits are counted from the first one of all; `entries`: most of a row, and most tokens."""
    anatomy, piece = one.anatomy, one.piece
    refused = anatomy.refused
    tokens = tokens_of(anatomy)[:entries]
    texts = words.of([token.id for token in tokens], one.vocabulary)
    guessed = bool(words.assumed(one.vocabulary)) and any(text is not None for text in texts)
    return {
        "number": one.number,
        "name": piece.name or None,
        "at_s": piece.at_s,
        "direction": piece.direction or None,
        "device": piece.device or None,
        "lost": piece.lost or None,
        "bytes": anatomy.length,
        "message": anatomy.name,
        "refused": refused and _refusal_values(anatomy, refused),
        "with_crc": None if anatomy.mended is None else _mended_values(anatomy.mended),
        "as_said": as_said(one),
        "fields": [field_values(field) for field in anatomy.fields],
        "block": None if anatomy.block is None else _block_values(one, anatomy.block, words, entries),
        "tokens": [
            {
                "position": token.position,
                "id": token.id,
                "origin": token.part if token.origin is None else token.origin.name.lower(),
                "q": token.q,
                "text": text,
            }
            for token, text in zip(tokens, texts, strict=True)
        ],
        "texts_guessed": guessed,
    }


def _refusal_values(anatomy: Anatomy, refused: WireError) -> dict[str, Any]:
    section = "" if anatomy.block is None else anatomy.block.section_at(refused.offset)
    return {
        "reason": refused.reason.value,
        "bit": refused.offset,
        "detail": refused.detail,
        "section": section or None,
    }


def _mended_values(mended: Anatomy) -> dict[str, Any]:
    """Of the same bytes with a CRC that fits."""
    return {"refused": mended.refused and _refusal_values(mended, mended.refused)}


def field_values(field: Field) -> dict[str, Any]:
    """One field."""
    value = field.value.hex() if isinstance(field.value, bytes) else field.value
    return {
        "name": field.name,
        "bit": field.start,
        "bits": field.end - field.start,
        "value": value,
        "meaning": field.meaning or None,
    }


def _block_values(one: Examined, block: Block, words: Words, entries: int) -> dict[str, Any]:
    first = first_position(one.anatomy)
    return {
        "tables": None if one.tables is None else {"hash": one.tables.hash.hex(), "label": one.tables.label},
        "rung": None if block.rung is None else block.rung._asdict(),
        "vocab_size": block.rows[0].vocab_size if block.rows else None,
        "entries": block.entries,
        "bits": block.bits,
        "bits_per_entry": block.bits / block.entries if block.entries else None,
        "sections": [
            {"name": part.name, "bit": part.start, "bits": part.end - part.start} for part in block.sections
        ],
        "ends_within": block.outline.stopped or None,
        "heads": [
            {"l" if block.rung is None else "table": head.number, "tail": head.tail} for head in block.heads
        ],
        "rows": [
            {
                "position": None if first is None else first + i,
                "tail": row.tail,
                "kept_mass": row.kept_mass,
                "entries": _entry_values(row, words, one.vocabulary, entries),
            }
            for i, row in enumerate(block.rows)
        ],
    }


def _entry_values(row: Row, words: Words, vocabulary: Vocabulary, most: int) -> list[dict[str, Any]]:
    places = likeliest(row, most)
    texts = words.of([int(row.ids[place]) for place in places], vocabulary)
    return [
        {
            "id": int(row.ids[place]),
            "weight": int(row.weights[place]),
            "q": int(row.weights[place]) / WEIGHT_SUM,
            "level": int(row.levels[place]),
            "text": text,
        }
        for place, text in zip(places, texts, strict=True)
    ]


def likeliest(row: Row, most: int) -> Sequence[int]:
    """Places of the entries with the largest weights, those first; of equals the lower id."""
    places: Sequence[int] = np.argsort(-row.weights, kind="stable")[:most].tolist()
    return places


__all__ = ["ALL", "field_values", "frame_values", "likeliest"]
