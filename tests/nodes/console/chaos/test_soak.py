"""A soak: promises hold while devices come and go, every table is found, and what grows is told."""

import os
import signal
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from draftwire.nodes.console.chaos.flatness import FILLING, JUDGED_FROM_H, as_fields, broken_by
from draftwire.nodes.console.chaos.sizes import growth_of, new_most, sizes_of
from draftwire.nodes.console.chaos.soak import SERVERS, Sample, Soak, Soaked, soak
from draftwire.nodes.console.chaos.soak_options import _lines
from draftwire.nodes.console.cli import main
from draftwire.nodes.target.node import TargetNode


def test_devices_come_and_go() -> None:
    """In a short run nothing breaks, each kind of thing happens, and the same seed gives the same run."""
    one, other = (soak(hours=0.04, seed=3, samples=6) for _ in range(2))
    assert one.broken == []
    assert one.devices > 8 and one.requests > 15 and one.deaths["device"] > 0
    assert one.virtual_h == pytest.approx(0.04)
    assert (one.devices, one.requests, one.tokens, one.deaths) == (
        other.devices,
        other.requests,
        other.tokens,
        other.deaths,
    )
    assert [sample.tables for sample in one.samples] == [sample.tables for sample in other.samples]
    assert [sample.spared for sample in one.samples[::2]] == list(SERVERS)


def test_tables_of_a_node_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the three servers and of their connections, and one that nobody has heard of yet."""

    def planted(self: TargetNode, *args: Any, **kwargs: Any) -> None:
        first(self, *args, **kwargs)
        self._planted = [1, 2, 3]  # type: ignore[attr-defined]

    first = TargetNode.__init__
    monkeypatch.setattr(TargetNode, "__init__", planted)
    found = Counter[str]()
    for sample in soak(hours=0.02, samples=6).samples:
        found |= Counter(sample.tables)
    assert found["TargetNode._planted"] == 3
    for name in ("Places._by_key", "Crowd._members", "Requests._served", "Mailbox._waiters"):
        assert found[name] > 0, name


class Slotted:
    """Of the package, as far as anybody can tell."""

    __module__ = "draftwire.nodes.example"
    __slots__ = ("again", "one", "two")
    one: dict[str, object]
    again: deque[int]


def test_slots_and_circles() -> None:
    """Attributes in slots are seen, one that is not set is no error, and a circle is walked once."""
    node = Slotted()
    node.one, node.again = {"a": node, "b": [node]}, deque([1, 2, 3])
    assert sizes_of(node) == {"Slotted.one": 2, "Slotted.again": 3}


def test_growth_is_that_of_the_second_half() -> None:
    """What has filled up by halfway does not grow; what goes on does."""
    assert growth_of([0, 10, 20, 30, 30, 30, 30, 30]) == pytest.approx(0)
    assert growth_of([0, 1, 2, 3, 4, 5, 6, 7]) == pytest.approx(3)
    assert growth_of([5.0]) == 0
    assert new_most([0, 10, 30, 0, 20, 30, 5, 25]) == 0
    assert new_most([0, 1, 2, 3, 4, 5, 6, 7]) == 4
    assert new_most([]) == 0


def _came(**tables: list[int]) -> Soaked:
    """A long run whose tables had these sizes while their server, the target, was spared."""
    samples = [
        Sample(
            spared="target",
            memory_mb=100.0,
            tasks=20,
            descriptors=30,
            tables={name.replace("__", "._"): sizes[place] for name, sizes in tables.items()},
        )
        for place in range(20)
    ]
    return Soaked(virtual_h=JUDGED_FROM_H, samples=samples)


def test_a_table_that_grows_is_told() -> None:
    """A leak of a few entries an hour is; a table that has filled up is not, nor any in a short run."""
    leaking = _came(Node__leak=[10 * place for place in range(20)], Node__full=[900] * 20)
    (said,) = broken_by(leaking)
    assert said.startswith("target Node._leak has 190 entries, and had up to 100 more")
    assert broken_by(replace(leaking, virtual_h=JUDGED_FROM_H - 1)) == []
    assert as_fields(leaking)["tables"] == {"target Node._leak": {"entries": 190, "growth": 100}}


def test_what_is_still_filling_has_its_bound() -> None:
    """A table that needs more hours to fill may grow up to its bound, and no further."""
    bound = FILLING["WasteBudget._budgets"]
    within = _came(WasteBudget__budgets=[bound - 1000 + 50 * place for place in range(20)])
    beyond = _came(WasteBudget__budgets=[bound - 900 + 50 * place for place in range(20)])
    assert broken_by(within) == [] and len(broken_by(beyond)) == 1


def test_memory_that_grows_is_told() -> None:
    """Megabytes, tasks and descriptors each have their bound."""
    flat = _came()
    for name in ("memory_mb", "tasks", "descriptors"):
        growing: list[dict[str, Any]] = [{name: 10 * place} for place in range(20)]
        grown = [replace(one, **more) for one, more in zip(flat.samples, growing, strict=True)]
        (said,) = broken_by(replace(flat, samples=grown))
        assert said.startswith(f"{name} grew by 90.0"), said


def test_what_is_not_measured_is_null() -> None:
    """Where the system does not say what a process has, nothing is told of it, nor judged."""
    leaking = _came()
    blind = [replace(one, memory_mb=None, descriptors=None) for one in leaking.samples]
    came = replace(leaking, samples=blind)
    fields = as_fields(came)
    assert broken_by(came) == []
    names = ("memory_mb", "memory_growth_mb", "descriptors_growth")
    assert [fields[name] for name in names] == [None] * 3 and fields["tasks_growth"] == 0
    (line,) = [one for one in _lines(came) if one.startswith("over the second half")]
    assert "memory not measured" in line and "descriptors not measured" in line


def test_ctrl_c_tells_what_came(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 130, the hours until then, and nothing broken by the end itself; before any sample, too."""
    sample = Soak._sample
    for so_many in (0, 2):
        taken = iter(range(so_many))

        def interrupted(self: Soak, taken: Iterator[int] = taken) -> Sample:
            if next(taken, None) is None:
                os.kill(os.getpid(), signal.SIGINT)
            return sample(self)

        monkeypatch.setattr(Soak, "_sample", interrupted)
        assert main(["chaos", "--soak", "0.06", "--json"]) == 130
        told = orjson.loads(capsys.readouterr().out)
        assert told["virtual_h"] == pytest.approx(0.01 * (so_many + 1)) and told["broken"] == []


def test_a_text_that_is_not_the_targets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the text has teeth."""
    monkeypatch.setattr("draftwire.nodes.console.chaos.soak.text_of", lambda request: (0,) * 8)
    assert any("undisturbed" in said for said in soak(hours=0.02, samples=3).broken)


def test_as_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints one object with all keys; --soak goes with no other kind of run."""
    assert main(["chaos", "--soak", "0.01", "--json"]) == 0
    told = orjson.loads(capsys.readouterr().out)
    growth = {"memory_growth_mb", "tasks_growth", "descriptors_growth"}
    keys = {"virtual_h", "wall_s", "requests", "tables", *growth}
    assert keys <= set(told) and told["broken"] == []
    assert main(["chaos", "--soak", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "h of virtual time" in said
    assert "no growth is judged below 12 h" in said
    for words in (["--soak", "0"], ["--schedules", "2", "--soak", "1"]):
        assert main(["chaos", *words]) == 2
        assert words[0] in capsys.readouterr().err
    assert main(["chaos", "--soak", "1", "--real"]) == 2
    assert "--soak" in capsys.readouterr().err
