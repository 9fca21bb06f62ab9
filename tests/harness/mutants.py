"""Mistakes planted in the real code: a mutant is a change of a line or two, made for as long as it is played.

A change is text: what stands in the source of a function, and what stands there instead. Where the function
has been rewritten since, planting fails, so that no mutant comes to nothing unseen.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Of one function."""

    owner: Any
    "the class or the module that has it"
    name: str
    changes: tuple[tuple[str, str], ...]
    "what stands there exactly once, and what shall"
    also: tuple[Any, ...] = ()
    "modules that have it by the same name, as they import it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A mistake that somebody could make."""

    name: str
    breaks: str
    "what it does, as a sentence"
    edits: tuple[Edit, ...]


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The code with the mistake in it."""
    with pytest.MonkeyPatch.context() as patch:
        for edit in mutant.edits:
            changed = _changed(edit)
            for owner in (edit.owner, *edit.also):
                patch.setattr(owner, edit.name, changed)
        yield


def _changed(edit: Edit) -> Any:
    held = inspect.getattr_static(edit.owner, edit.name)
    function: Any = held.fget if isinstance(held, property) else held
    source = textwrap.dedent(inspect.getsource(function))
    for before, after in edit.changes:
        assert source.count(before) == 1, f"{edit.name}: {before!r} is there {source.count(before)} times"
        source = source.replace(before, after)
    made: dict[str, Any] = {}
    exec(compile(source, inspect.getfile(function), "exec"), function.__globals__, made)
    return made[edit.name]


__all__ = ["Edit", "Mutant", "planted"]
