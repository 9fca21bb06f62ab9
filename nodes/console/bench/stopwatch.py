"""Where a verification step's time goes: stopwatches around the few calls that matter, in any node's process.

    python -m draftwire.nodes.console.bench.stopwatch SPANS target --config FILE

runs `draftwire target --config FILE` with them and writes the spans, a JSON array, when it ends. The clock is
the machine's monotonic one, so spans of two processes of one machine stand on one line of time.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from draftwire.nodes.models.base import Ask, Context, LanguageModel, PackingModel

MODEL: Final = "model"
WORK: Final = "work"
"""Drawing, testing or correcting: a model's calls and the mathematics around them."""

QUANTISE: Final = "quantise"

_CALLS: Final = (
    ("draftwire.nodes.speculation.sampling", "quantize", lambda arguments, value: QUANTISE),
    ("draftwire.nodes.device.node", "draw_block", lambda arguments, value: WORK),
    ("draftwire.nodes.target.work", "verify", lambda arguments, value: WORK),
    ("draftwire.nodes.target.work", "correct", lambda arguments, value: WORK),
    ("draftwire.nodes.device.running", "encode_frame", lambda arguments, value: _kind(arguments[0])),
    ("draftwire.nodes.device.node", "decode_frame", lambda arguments, value: _kind(value.message)),
    ("draftwire.nodes.target.served", "encode_frame", lambda arguments, value: _kind(arguments[0])),
    ("draftwire.nodes.target.node", "decode_frame", lambda arguments, value: _kind(value.message)),
)
"""Module, name of the call in it, and what its span is called: (arguments, value) -> kind."""


class Span(NamedTuple):
    """One call; seconds of the monotonic clock."""

    kind: str
    "MODEL, WORK, QUANTISE, or the class of the message that was encoded or decoded"
    begun_s: float
    ended_s: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_s - self.begun_s


class TimedModel:
    """A model whose answers are timed."""

    def __init__(self, model: LanguageModel, spans: list[Span]) -> None:
        self.vocab_size, self.context_length, self.support = (
            model.vocab_size,
            model.context_length,
            model.support,
        )
        self._model, self._spans = model, spans

    def open(self) -> Context:
        """A fresh context, timed too."""
        return _TimedContext(self._model.open(), self._spans)


class TimedPackingModel(TimedModel):
    """One whose contexts share passes: a span for each pass."""

    def __init__(self, model: PackingModel, spans: list[Span]) -> None:
        super().__init__(model, spans)
        self._packing = model
        self.kv_bytes = model.kv_bytes

    def together(self, asks: Sequence[Ask]) -> list[NDArray[np.float32]]:
        """As PackingModel."""
        own = [ask.context for ask in asks if isinstance(ask.context, _TimedContext)]
        inner = [replace(ask, context=context.timed) for ask, context in zip(asks, own, strict=True)]
        begun_s = time.monotonic()
        answers = self._packing.together(inner)
        self._spans.append(Span(MODEL, begun_s, time.monotonic()))
        return answers


class _TimedContext:
    def __init__(self, context: Context, spans: list[Span]) -> None:
        self.timed, self._spans = context, spans

    def logits(self, tokens: Sequence[int], rows: int) -> NDArray[np.float32]:
        begun_s = time.monotonic()
        logits = self.timed.logits(tokens, rows)
        self._spans.append(Span(MODEL, begun_s, time.monotonic()))
        return logits

    def close(self) -> None:
        self.timed.close()


def timed_model(model: LanguageModel, spans: list[Span]) -> TimedModel:
    """The model, timed; it shares passes where the model does."""
    return TimedPackingModel(model, spans) if isinstance(model, PackingModel) else TimedModel(model, spans)


@contextmanager
def stopwatches() -> Iterator[list[Span]]:
    """While the block runs, nodes that are built in it time themselves; the list grows."""
    spans: list[Span] = []
    replaced: list[tuple[Any, str, Any]] = []

    def replace(module: Any, name: str, by: Any) -> None:
        replaced.append((module, name, getattr(module, name)))
        setattr(module, name, by)

    try:
        for path, name, kind in _CALLS:
            module = import_module(path)
            replace(module, name, _timed(getattr(module, name), kind, spans))
        assemble = import_module("draftwire.nodes.console.assemble")
        fitted = assemble.fitted
        replace(assemble, "fitted", lambda model, size: timed_model(fitted(model, size), spans))
        yield spans
    finally:
        for module, name, original in reversed(replaced):
            setattr(module, name, original)


def _timed(
    call: Callable[..., Any], kind: Callable[[Any, Any], str], spans: list[Span]
) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        begun_s = time.monotonic()
        value = call(*arguments, **named)
        ended_s = time.monotonic()
        spans.append(Span(kind(arguments, value), begun_s, ended_s))
        return value

    return timed


def _kind(message: object) -> str:
    return type(message).__name__


def read_spans(path: Path) -> list[Span]:
    """What a process wrote."""
    return [Span(*span) for span in orjson.loads(path.read_bytes())]


def main(arguments: Sequence[str]) -> int:
    """Run a command with stopwatches; the first argument is the file for the spans."""
    from draftwire.nodes.console import cli

    path, *command = arguments
    with stopwatches() as spans:
        try:
            return cli.main(command)
        finally:
            Path(path).write_bytes(orjson.dumps([tuple(span) for span in spans]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))


__all__ = [
    "MODEL",
    "QUANTISE",
    "WORK",
    "Span",
    "TimedModel",
    "TimedPackingModel",
    "main",
    "read_spans",
    "stopwatches",
    "timed_model",
]
