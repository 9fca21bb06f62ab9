"""The models of a simulation: a synthetic pair as it is, or one that accepts as a real pair was seen to."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final
from zipfile import BadZipFile, is_zipfile
from zlib import error as BadDataError

from draftwire.codecs.tables import TableSet
from draftwire.nodes.console.bench.traces import AcceptanceTrace, load, recorded
from draftwire.nodes.console.simulate.spread import spread_as
from draftwire.nodes.models.base import LanguageModel
from draftwire.nodes.models.catalogue import SHIPPED, load_draft, load_target, load_tokenizer
from draftwire.nodes.models.recorded import RecordedPair
from draftwire.nodes.models.synthetic import SyntheticTokenizer
from draftwire.nodes.models.tables import find_tables
from draftwire.nodes.target.stopping import Decoder
from draftwire.runtime.config import PairSettings, SamplingSettings, Topology
from draftwire.runtime.errors import ConfigurationError

SHIPPED_RECORDINGS: Final = {1.0: "smollm2", 0.7: "smollm2-0.7"}
"""Temperature -> the recording of the shipped pair at it."""

FORMULA: Final = "synthetic:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models that every device and every BS of a simulation share: they keep nothing of a text."""

    name: str
    "for people"
    draft: LanguageModel
    target: LanguageModel
    vocab_size: int
    fingerprint: bytes
    decoder: Decoder
    tables: tuple[TableSet, ...] = ()
    "sets that rows may be spelt with, the best first"
    stands_in: bool = False
    "for a pair with another vocabulary, which was recorded"


def pair_of(topology: Topology, *, recording: Path | None = None) -> Pair:
    """The pair of a topology, synthetic or shipped, or one that accepts as a file says.

    Raises ConfigurationError where there is no recording of it, or none at the temperature of [sampling].
    """
    names = topology.pair.draft.model, topology.pair.target.model
    if recording is not None:
        trace = _loaded(recording)
        _check(trace, topology.sampling, source=str(recording))
        return recorded_pair(trace)
    if all(name.startswith(FORMULA) for name in names):
        return _synthetic(topology.pair)
    if names != (SHIPPED, SHIPPED):
        raise ConfigurationError(
            f"there is no recording of the acceptance of {names[0]} and {names[1]}",
            key="pair",
            remedy="record it with scripts/record_acceptance.py and give --recording FILE, or write "
            f"{SHIPPED} or synthetic:V=1024 for both",
        )
    name = SHIPPED_RECORDINGS.get(topology.sampling.temperature, SHIPPED_RECORDINGS[1.0])
    _check(recorded(name), topology.sampling, source=f"{SHIPPED}, as shipped")
    return _shipped(name)


def recorded_pair(trace: AcceptanceTrace) -> Pair:
    """A pair that accepts as this trace, at its temperature, with rows about as long at each K."""
    # high - low is what the draft's mass outside the row leaves open, where the target's is no smaller.
    kept = 1 - (trace.high - trace.low)
    models = spread_as(
        trace, RecordedPair(trace.alpha, trace.ladder, temperature=trace.temperature, kept=kept)
    )
    tokenizer = SyntheticTokenizer(models.vocab_size)
    return Pair(
        name=f"acceptance of {trace.name}, recorded at temperature {trace.temperature:g}",
        draft=models.draft,
        target=models.target,
        vocab_size=models.vocab_size,
        fingerprint=tokenizer.fingerprint,
        decoder=tokenizer,
        stands_in=True,
    )


@lru_cache(maxsize=2)
def _shipped(name: str) -> Pair:
    """Made once: the search for its masses and for the places of its ids takes a second or two."""
    return recorded_pair(recorded(name))


def _check(trace: AcceptanceTrace, sampling: SamplingSettings, *, source: str) -> None:
    """Raise ConfigurationError for requests of another kind than those that the trace was recorded of."""
    if sampling.temperature != trace.temperature:
        raise ConfigurationError(
            f"temperature {sampling.temperature:g}, but acceptance was recorded at {trace.temperature:g} "
            f"({source})",
            key="sampling.temperature",
            remedy=f"write {trace.temperature:g}, or record another with scripts/record_acceptance.py "
            "and give --recording FILE",
        )
    for key, value, off in (("top_k", sampling.top_k, 0), ("top_p", sampling.top_p, 1.0)):
        if value != off:
            raise ConfigurationError(
                f"{value:g}, but acceptance was recorded of the target's whole distribution",
                key=f"sampling.{key}",
                remedy=f"leave it out, or write synthetic:V=1024 for both models of [pair] ({off:g} is off)",
            )


def _synthetic(settings: PairSettings) -> Pair:
    draft, target = settings.draft.model, settings.target.model
    ends = load_tokenizer(draft, end="draft"), load_tokenizer(target, end="target")
    if ends[0].fingerprint != ends[1].fingerprint:
        raise ConfigurationError(
            f"the vocabularies of {draft} and {target} differ", key="pair", remedy="give both the same V"
        )
    return Pair(
        name=draft if draft == target else f"{draft} and {target}",
        draft=load_draft(draft),
        target=load_target(target),
        vocab_size=ends[0].vocab_size,
        fingerprint=ends[0].fingerprint,
        decoder=ends[0],
        tables=tuple(
            find_tables(settings.tables, vocab_size=ends[0].vocab_size, fingerprint=ends[0].fingerprint)
            if settings.tables is not None
            else ()
        ),
    )


def _loaded(path: Path) -> AcceptanceTrace:
    problem = "no recording of acceptance"
    try:
        with path.open("rb") as file:
            if is_zipfile(file):  # numpy would take any file for a pickle, and advise to allow it
                return load(path)
    except OSError as error:
        problem = error.strerror or str(error)
    except KeyError as error:
        problem += f" ({error.args[0]})"
    except (ValueError, TypeError, BadZipFile, BadDataError, EOFError, NotImplementedError) as error:
        problem += "" if "pickle" in str(error) else f" ({error})"
    raise ConfigurationError(
        f"{str(path)!r}: {problem}",
        key="--recording",
        remedy="name a file that scripts/record_acceptance.py wrote",
    )


__all__ = ["Pair", "pair_of", "recorded_pair"]
