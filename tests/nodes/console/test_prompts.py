"""Prompts for many devices: dealt to who is free, or to each in turn."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from draftwire.nodes.console.prompts import EXAMPLES, Dealt, InTurn, behind, first_of, read_prompts
from draftwire.runtime.clock import run_virtual
from draftwire.runtime.errors import ConfigurationError


async def _lines(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line
        await asyncio.sleep(0)


def test_a_line_goes_to_one_device() -> None:
    """Whoever asks first gets the first, also where several wait; at the end each hears that it is one."""

    async def main() -> None:
        prompts = Dealt(behind("one", _lines("two", "three")))
        assert await asyncio.gather(*(prompts.next(place) for place in (5, 0, 3, 0))) == [
            "one",
            "two",
            "three",
            None,
        ]
        assert await prompts.next(1) is None

    asyncio.run(main())


def test_a_pipe_that_says_nothing_is_told_of() -> None:
    """Once, and a line that comes later is the first all the same; not of one that comes at once."""
    said, go_on = list[str](), asyncio.Event()

    async def later() -> AsyncIterator[str]:
        await go_on.wait()
        yield "at last"

    def waits() -> None:
        said.append("waits")
        go_on.set()

    async def main() -> None:
        assert await first_of(_lines("one", "two"), waits=waits) == "one"
        assert await first_of(_lines(), waits=waits) is None
        assert said == []
        assert await first_of(later(), waits=waits) == "at last"
        assert said == ["waits"]

    run_virtual(main())


def test_each_device_begins_with_another_one() -> None:
    """And has all of them, again and again, whatever the others have had."""

    async def main() -> None:
        prompts = InTurn("abc")
        assert [await prompts.next(1) for _ in range(4)] == ["b", "c", "a", "b"]
        assert [await prompts.next(3), await prompts.next(2)] == ["a", "c"]

    asyncio.run(main())


def test_prompts_of_a_file(tmp_path: Path) -> None:
    """A line each, without white space around; a file without any, or none at all, is an error."""
    file = tmp_path / "prompts.txt"
    file.write_text("one\n\n  two words \n")
    assert read_prompts(file) == ("one", "two words")
    file.write_text("\n")
    for path, said in ((file, "is empty"), (tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ConfigurationError, match=said) as caught:
            read_prompts(path)
        assert caught.value.key == "--prompts"


def test_sixteen_examples_differ() -> None:
    """So many devices are asked sixteen things."""
    assert len(set(EXAMPLES)) == len(EXAMPLES) == 16
