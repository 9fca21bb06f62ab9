"""Sliders of a page, in the words of a link."""

import pytest

from draftwire.nodes.observer.links import Moved, constant, link_fields
from draftwire.nodes.observer.ordering import wish_of
from draftwire.runtime.errors import ConfigurationError
from draftwire.runtime.link import parse_schedule


def sliders(rate_bps: float | None = 1e6, delay_s: float = 0.02, loss: float = 0.0) -> Moved:
    """What a person has set."""
    return Moved(rate_bps=rate_bps, delay_s=delay_s, loss=loss)


@pytest.mark.parametrize(
    ("before", "set_to", "after"),
    [
        ("", sliders(), "rate 1mbit delay 20ms"),
        ("rate 5mbit delay 40ms 5ms limit 100", sliders(), "rate 1mbit delay 20ms 5ms limit 100"),
        ("rate 5mbit delay 40ms 30ms", sliders(), "rate 1mbit delay 20ms 20ms"),
        ("rate 20mbit; 5s rate 1mbit; repeat 10s", sliders(), "rate 1mbit delay 20ms"),
        ("trace lte-like delay 5ms duplicate 1%", sliders(), "rate 1mbit delay 20ms duplicate 1%"),
        ("rayleigh 15db 5mhz 20ms", sliders(), "rate 1mbit delay 20ms"),
        ("rate 1mbit loss 2% 25%", sliders(loss=0.05), "rate 1mbit delay 20ms loss 5% 25%"),
        ("rate 1mbit loss gemodel 10% 30%", sliders(loss=0.25), "rate 1mbit delay 20ms loss gemodel 10% 30%"),
        ("rate 1mbit loss gemodel 10% 30%", sliders(loss=0.1), "rate 1mbit delay 20ms loss 10%"),
        ("rate 1mbit loss 2% arq 8ms", sliders(), "rate 1mbit delay 20ms"),
        ("rate 1mbit loss 2% arq 8ms", sliders(loss=0.1), "rate 1mbit delay 20ms loss 10% arq 8ms"),
        ("rate 1mbit delay 10ms reorder 25%", sliders(delay_s=0.0), "rate 1mbit"),
        ("rate 1mbit", sliders(rate_bps=None, delay_s=0.0), ""),
        ("rate 1mbit", sliders(rate_bps=0.0), "rate 0 delay 20ms"),
    ],
)
def test_what_sliders_do_not_touch_stays(before: str, set_to: Moved, after: str) -> None:
    """Rate, delay and loss are set, other words stay, and what changed by itself does so no more."""
    assert parse_schedule(constant(before, set_to)) == parse_schedule(after)


REPAIRED = "delay 40ms loss 2% arq 8ms"


@pytest.mark.parametrize(
    ("before", "moved", "after"),
    [
        (f"rate 5mbit {REPAIRED}", Moved(delay_s=0.02), "rate 5mbit delay 20ms loss 2% arq 8ms"),
        (f"rate 5mbit {REPAIRED}", Moved(rate_bps=1e6), f"rate 1mbit {REPAIRED}"),
        ("rate 5mbit delay 40ms 5ms", Moved(loss=0.1), "rate 5mbit delay 40ms 5ms loss 10%"),
        ("rate 1mbit loss gemodel 1% 3%", Moved(delay_s=0.01), "rate 1mbit delay 10ms loss gemodel 1% 3%"),
        ("trace lte-like delay 5ms", Moved(delay_s=0.02), "trace lte-like delay 20ms"),
        ("rayleigh 15db 5mhz 20ms", Moved(loss=0.1), "rayleigh 15db 5mhz 20ms loss 10%"),
        ("trace nr-like reorder 25%", Moved(rate_bps=1e6), "rate 1mbit"),
        ("rate 1mbit", Moved(rate_bps=None), ""),
    ],
)
def test_a_slider_that_was_not_moved_changes_nothing(before: str, moved: Moved, after: str) -> None:
    """What is absent stays as it is, a rate that moves by itself included."""
    assert parse_schedule(constant(before, moved)) == parse_schedule(after)


STEPS = "rate 1mbit delay 50ms; 10s rate 5mbit delay 50ms 10ms loss gemodel 1% 10%"


@pytest.mark.parametrize(
    ("now", "after"),
    [
        ("rate 5mbit delay 50ms 10ms loss gemodel 1% 10%", "rate 5mbit delay 80ms 10ms loss gemodel 1% 10%"),
        ("rate 1mbit delay 50ms", "rate 1mbit delay 80ms"),
        ("rate 9mbit", "rate 1mbit delay 80ms"),
        (None, "rate 1mbit delay 80ms"),
    ],
)
def test_a_slider_bends_the_step_in_force(now: str | None, after: str) -> None:
    """Of a schedule it is the step that was told last; what was told of another link counts for nothing."""
    told = None if now is None else str(parse_schedule(now).steps[0].link)
    assert parse_schedule(constant(STEPS, Moved(delay_s=0.08), now=told)) == parse_schedule(after)


def test_what_only_its_channel_can_read_is_bent_as_it_was_told() -> None:
    """A schedule that names a trace of the channel's own file can't be read here, its step may be."""
    now = "rate 5mbit delay 50ms"
    bent = constant(f"trace mine; 5s {now}", Moved(loss=0.1), now=now)
    assert parse_schedule(bent) == parse_schedule(f"{now} loss 10%")


def test_a_link_that_can_not_be_is_refused() -> None:
    """What no link can be is an error for people, as for who types the words."""
    with pytest.raises(ConfigurationError, match="rate"):
        constant("rate 1mbit", sliders(rate_bps=5.0))


def test_a_link_in_fields() -> None:
    """The sliders show the uplink; a rate that moves by itself is its mean."""
    fields = link_fields("trace lte-like", "", controllable=True)
    assert isinstance(fields["rate_bps"], float) and fields["rate_bps"] > 1e5
    assert fields["downlink"] == "no limit" and fields["controllable"] is True


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"{}", "rate_bps, delay_s, loss"),
        (b'{"direction": "both", "device": null}', "rate_bps, delay_s, loss"),
        (b'{"rate_bps": -1, "delay_s": 0, "loss": 0}', "rate_bps"),
        (b'{"rate_bps": true, "delay_s": 0, "loss": 0}', "rate_bps"),
        (b'{"rate_bps": 1e99, "delay_s": 0, "loss": 0}', "rate_bps"),
        (b'{"rate_bps": 1, "delay_s": "1", "loss": 0}', "delay_s"),
        (b'{"rate_bps": 1, "delay_s": 61, "loss": 0}', "delay_s"),
        (b'{"rate_bps": 1, "delay_s": 0, "loss": 1.5}', "loss"),
        (b'{"rate_bps": 1, "delay_s": 0, "loss": null}', "loss"),
        (b'{"rate_bps": 1, "delay_s": 0, "loss": 0, "direction": "up"}', "direction"),
        (b'{"rate_bps": 1, "delay_s": 0, "loss": 0, "device": ""}', "device"),
        (b'{"rate_bps": 1, "delay_s": 0, "loss": 0, "dely_s": 1}', "dely_s"),
    ],
)
def test_a_bad_wish_names_the_field(body: bytes, names: str) -> None:
    """What asks for nothing is refused with the field to blame."""
    with pytest.raises(ConfigurationError, match=names):
        wish_of(body)
