"""Each frame taken apart, with what those before it have told: whose tokens these are, by which tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from draftwire.codecs.anatomy import Anatomy, dissect_block, dissect_frame, dissect_tables
from draftwire.codecs.bodies import KINDS
from draftwire.codecs.errors import Refusal, WireError
from draftwire.codecs.messages import Commit, Draft, Hello, Open, Origin, SparseLogits
from draftwire.codecs.tables import NO_TABLES, TableSet, TableSets, by_tag, table_set_from
from draftwire.codecs.weights import WEIGHT_SUM
from draftwire.nodes.console.inspect.sources import Piece, set_in_vector
from draftwire.nodes.console.inspect.words import Vocabulary
from draftwire.nodes.models.tables import learnt_files, load_tables, shipped_tables
from draftwire.runtime.errors import ConfigurationError

NO_SETS: Final = "none"
"""Of --tables."""

_HELLO: Final = bytes([KINDS[Hello]])
"""The second byte of its frames."""


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
    "None: the message does not say it"
    part: str = ""
    "what it is to the message where it has no origin: `output` or `drafted`"
    q: float | None = None
    "the draft's probability of it, of the row that it was drawn from"


class Examiner:
    """Takes pieces in order."""

    def __init__(self, tables: Sequence[str] | None) -> None:
        """`tables`: files of sets, or `none`; None: those of this machine, looked for when one is needed.

        Raises ConfigurationError for a file that is named and has none.
        """
        self._sets: TableSets = NO_TABLES
        self._looked = tables is not None
        if tables is not None and list(tables) != [NO_SETS]:
            self._sets = by_tag([_named(Path(name)) for name in tables])
        self._number = 0
        self._vocabularies: dict[str, Vocabulary] = {}

    def add(self, sets: Sequence[TableSet]) -> None:
        """Sets that came with the pieces."""
        self._sets = {**self._sets, **{one.tag: one for one in sets}}

    def examine(self, piece: Piece) -> Examined:
        """Take it apart; raises nothing, whatever it is."""
        self._number += 1
        anatomy = self._dissect(piece)
        if not self._looked and _lacks_a_set(anatomy, piece):
            self._looked = True
            self._sets = {**{one.tag: one for one in _found()}, **self._sets}
            anatomy = self._dissect(piece)
        tag = None if anatomy.block is None else anatomy.block.tag
        return Examined(
            number=self._number,
            piece=piece,
            anatomy=anatomy,
            vocabulary=self._vocabulary(piece, anatomy),
            tables=None if tag is None else self._sets.get(tag),
        )

    def pass_over(self, piece: Piece) -> None:
        """Count it, and learn from it what those behind it need, without the rest."""
        self._number += 1
        if not piece.block and piece.data[1:2] == _HELLO:
            self._vocabulary(piece, dissect_frame(piece.data))

    def _dissect(self, piece: Piece) -> Anatomy:
        if piece.tables:
            return dissect_tables(piece.data)
        dissect = dissect_block if piece.block else dissect_frame
        return dissect(piece.data, tables=self._sets)

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


def _lacks_a_set(anatomy: Anatomy, piece: Piece) -> bool:
    """Whether it is refused for want of a set, and that is not what is wanted of it."""
    wanted = piece.expected is not None and piece.expected[0] == Refusal.TABLES
    ends = (anatomy, anatomy.mended)
    refused = (one.refused for one in ends if one is not None and one.refused is not None)
    return not wanted and any(one.reason is Refusal.TABLES for one in refused)


def as_said(one: Examined) -> bool | None:
    """Whether a golden vector is refused as it says; None: it says nothing."""
    if one.piece.expected is None:
        return None
    refused = one.anatomy.refused
    return refused is not None and (refused.reason.value, refused.offset) == one.piece.expected


def tokens_of(anatomy: Anatomy) -> list[Token]:
    """Those that the message names, in order."""
    message = None if anatomy.frame is None else anatomy.frame.message
    match message:
        case Open():
            prompt = [
                Token(position=i, id=one, origin=Origin.PROMPT)
                for i, one in enumerate(message.tokens[: message.prompt_length])
            ]
            behind = enumerate(message.tokens[message.prompt_length :], start=message.prompt_length)
            return prompt + [Token(position=i, id=one, part="output") for i, one in behind]
        case Draft():
            weights: Sequence[int | None] = message.weights or [None] * len(message.ids)
            return [
                Token(
                    position=message.start + i,
                    id=one,
                    q=None if w is None else w / WEIGHT_SUM,
                    part="drafted",
                )
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


def _named(path: Path) -> TableSet:
    """The set in a file of tables, or in its golden vector. Raises ConfigurationError, naming --tables."""
    try:
        if path.suffix == ".json" and (data := set_in_vector(path.read_bytes())) is not None:
            return table_set_from(data)
        return load_tables(path)
    except ConfigurationError as error:
        raise error.placed(key="--tables") from None
    except (OSError, WireError) as error:
        problem = f"{str(path)!r}: {getattr(error, 'strerror', None) or error}"
        raise ConfigurationError(problem, key="--tables", remedy="name a file of tables") from None


def _found() -> Iterator[TableSet]:
    """The shipped pair's set and those that were learnt here, of whatever vocabulary."""
    for path in [shipped_tables(), *learnt_files()]:
        try:
            yield load_tables(path)
        except ConfigurationError:
            continue  # it is not there, or none: what it would have been needed for is refused by its tag


__all__ = ["NO_SETS", "Examined", "Examiner", "Token", "as_said", "first_position", "tokens_of"]
