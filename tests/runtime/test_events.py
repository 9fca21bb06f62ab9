"""Every event that the package can log stands in docs/operations.md with its fields, and no other does."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from draftwire.nodes.observer.heard import TOLD_BY
from draftwire.runtime import telemetry

ROOT = Path(__file__).parents[2]
METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
NOT_FIELDS = {"exc_info"}
NODES = "target|channel|controller|device|observer|serve|web|record|report|transport"


@dataclass(frozen=True)
class Call:
    """A place where an event is logged."""

    place: str
    event: str
    fields: frozenset[str]
    more: bool
    "it has fields that the source does not name: **values"


def _says(node: ast.AST) -> bool:
    """Whether an expression is a method of a logger."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr in METHODS
        and "log" in ast.unparse(node.value).rpartition(".")[2].lower()
    )


def _event(argument: ast.expr, place: str, constants: Mapping[str, str]) -> str:
    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
        return argument.value
    assert isinstance(argument, ast.Name), f"{place}: an event's name is a text or a constant"
    return constants.get(argument.id) or str(getattr(telemetry, argument.id))


def _constants(tree: ast.Module) -> dict[str, str]:
    """NAME: Final = "text", of a file."""
    return {
        node.target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }


def _calls(path: Path) -> Iterator[Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aliases = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(_says(part) for part in ast.walk(node.value))
        for target in node.targets
        if isinstance(target, ast.Name)
        and not any(isinstance(part, ast.Call) for part in ast.walk(node.value))
    }
    constants = _constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if _says(node.func) or (isinstance(node.func, ast.Name) and node.func.id in aliases):
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            names = [keyword.arg for keyword in node.keywords]
            yield Call(
                place=place,
                event=_event(node.args[0], place, constants),
                fields=frozenset(name for name in names if name is not None) - NOT_FIELDS,
                more=None in names,
            )


@cache
def _logged() -> list[Call]:
    paths = [path for folder in ("codecs", "runtime", "nodes") for path in (ROOT / folder).rglob("*.py")]
    return [call for path in sorted(paths) for call in _calls(path)]


def _documented(heading: str = "### Every event") -> dict[str, set[str]]:
    """The table under that heading: its fields by event."""
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition(f"{heading}\n")[2].partition("\n|")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \|([^|]*)\|", table, flags=re.MULTILINE)
    assert len(rows) == len({name for name, _ in rows}), "an event stands there twice"
    return {name: set(re.findall(r"`([^`]*)`", cell)) for name, cell in rows}


def test_the_search_finds_calls() -> None:
    """Loggers by any of our names are found, and what only looks like one is not."""
    calls = _logged()
    assert {"step", "link", "target.refused", "channel.refused", "controller.policy_failed"} <= {
        call.event for call in calls
    }
    assert len(calls) > 20
    assert not _says(ast.parse("args.info", mode="eval").body)


def test_every_event_is_documented() -> None:
    """The names in the table are those in the source."""
    places = {call.event: call.place for call in _logged()}
    documented = set(_documented())
    missing = {event: place for event, place in places.items() if event not in documented}
    assert not missing, "logged, and not in docs/operations.md"
    assert documented - set(places) == set(), "in docs/operations.md, and logged nowhere"


def test_every_field_is_documented() -> None:
    """The fields in the table are those in the source; of one with computed fields, at least these."""
    documented = _documented()
    for call in _logged():
        told = documented.get(call.event, set())
        assert call.fields <= told, f"{call.place}: fields of {call.event} that docs/operations.md lacks"
        assert call.more or call.fields == told, f"{call.place}: {call.event} has not all that is documented"


def test_events_are_named_by_their_node() -> None:
    """node.what_happened, but for those that a record may hold; fields are in snake_case."""
    for call in _logged():
        named = re.fullmatch(rf"({NODES})\.[a-z_]+", call.event)
        assert named or call.event in telemetry.RECORDED, call
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in call.fields), call


def test_what_only_an_observer_is_told_is_documented() -> None:
    """Beside what nodes log, the observer hears what its own table names, and nothing else."""
    told = _documented("## The observer")
    assert set(told) == {"traffic", "asked", "tokens", "answer", "alive"}
    assert set(TOLD_BY) == set(told) | {"step", "decision", "link"}
