"""Each frame taken apart, with what those before it have told: whose tokens these are, by which tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draftwire.codecs.anatomy import Anatomy, dissect_block, dissect_frame
from draftwire.codecs.errors import Refusal
from draftwire.codecs.messages import Commit, Draft, Hello, Open, Origin, SparseLogits
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets, by_tag
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.inspect.sources import Piece
from draftwire.nodes.console.inspect.words import Vocabulary
from draftwire.nodes.models.tables import SUFFIX, load_tables, shipped_tables, tables_folder
from draftwire.runtime.errors import ConfigurationError

NO_SETS: Final = "none"
"""Of --tables."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A frame, or a block alone."""

    number: int
    "counts from 1"
    piece: Piece
    anatomy: Anatomy
    vocabulary: Vocabulary
    tables: TableSet | None
    "that its rows are spelt with, where it is known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One that a message names."""

    position: int
    "in the request's log"
    id: int
    origin: Origin | None = None
    "None: a hint, which is not in the log"
    q: float | None = None
    "the draft's probability of it, of the row that it was drawn from"


class Examiner:
    """Takes pieces in order."""

    def __init__(self, tables: Sequence[str] | None) -> None:
        """`tables`: files of sets, or `none`; None: those of this machine, looked for when one is needed."""
        self._named = tables
        self._sets: TableSets = NO_TABLES
        self._looked = False
        self._number = 0
        self._vocabularies: dict[str, Vocabulary] = {}

    def examine(self, piece: Piece) -> Examined:
        """Raises ConfigurationError for a file of tables that can't be read, and nothing for the piece."""
        self._number += 1
        anatomy = self._dissect(piece)
        if anatomy.refused is not None and anatomy.refused.reason is Refusal.TABLES and not self._looked:
            self._look()
            anatomy = self._dissect(piece)
        tag = None if anatomy.block is None else anatomy.block.tag
        return Examined(
            number=self._number,
            piece=piece,
            anatomy=anatomy,
            vocabulary=self._vocabulary(piece, anatomy),
            tables=None if tag is None else self._sets.get(tag),
        )

    def _dissect(self, piece: Piece) -> Anatomy:
        dissect = dissect_block if piece.block else dissect_frame
        return dissect(piece.data, tables=self._sets)

    def _look(self) -> None:
        self._looked = True
        if self._named == [NO_SETS]:
            return
        try:
            if self._named is not None:
                self._sets = by_tag([load_tables(Path(name)) for name in self._named])
            else:
                self._sets = {one.tag: one for one in _found()}
        except ConfigurationError as error:
            raise error.placed(key="--tables") from None

    def _vocabulary(self, piece: Piece, anatomy: Anatomy) -> Vocabulary:
        """What this frame says of it, or the device's last Hello."""
        message = None if anatomy.frame is None else anatomy.frame.message
        if isinstance(message, Hello):
            told = Vocabulary(vocab_size=message.vocab_size, fingerprint=message.fingerprint)
            self._vocabularies[piece.device] = told
        known = self._vocabularies.get(piece.device, Vocabulary())
        rows = () if anatomy.block is None else anatomy.block.rows
        if rows and rows[0].vocab_size != known.vocab_size:
            return Vocabulary(vocab_size=rows[0].vocab_size)
        return known


def tokens_of(anatomy: Anatomy) -> list[Token]:
    """Those that the message names, in order."""
    message = None if anatomy.frame is None else anatomy.frame.message
    match message:
        case Open():
            return [
                Token(position=i, id=one, origin=Origin.PROMPT if i < message.prompt_length else None)
                for i, one in enumerate(message.tokens)
            ]
        case Draft():
            weights: Sequence[int | None] = message.weights or [None] * len(message.ids)
            return [
                Token(position=message.start + i, id=one, q=None if w is None else w / WEIGHT_SUM)
                for i, (one, w) in enumerate(zip(message.ids, weights, strict=True))
            ]
        case Commit():
            return [
                Token(position=message.position + i, id=one, origin=origin)
                for i, (one, origin) in enumerate(zip(message.ids, message.origins, strict=True))
            ]
    return []


def first_position(anatomy: Anatomy) -> int | None:
    """That the first row of a block was drawn for; None: a block alone does not say."""
    message = None if anatomy.frame is None else anatomy.frame.message
    return message.start if isinstance(message, SparseLogits) else None


def _found() -> Iterator[TableSet]:
    """The shipped pair's set and those that were learnt here, of whatever vocabulary."""
    for path in [shipped_tables(), *sorted(tables_folder().glob(f"*{SUFFIX}"))]:
        try:
            yield load_tables(path)
        except ConfigurationError:
            continue  # it is not there, or none: what it would have been needed for is refused by its tag


__all__ = ["NO_SETS", "Examined", "Examiner", "Token", "first_position", "tokens_of"]
