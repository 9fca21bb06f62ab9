"""docs/faults.md names what there is: every promise and kind of fault, leg and moment, and every key."""

from tests.harness.namespaces import ROOT

from draftwire.nodes.console.chaos import flatness
from draftwire.nodes.console.chaos.campaign import Tally, as_fields
from draftwire.nodes.console.chaos.checks import PROMISES
from draftwire.nodes.console.chaos.faults import Kind, Leg, Moment
from draftwire.nodes.console.chaos.soak import Soaked

TEXT = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")


def test_promises_are_those_that_are_checked() -> None:
    """A row each, in order, and no other."""
    table = TEXT.partition("| promise | |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip(" `") for line in table.splitlines() if line.startswith("| `")]
    assert rows == list(PROMISES)


def test_every_fault_and_every_key_is_named() -> None:
    """By the word that a schedule has for it, and by the one that --json has."""
    words = [*Kind, *Leg, *Moment, *as_fields(Tally(wanted=1)), *flatness.as_fields(Soaked())]
    assert [word for word in words if f"`{word}`" not in TEXT] == []
