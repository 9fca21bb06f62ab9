"""Runs whose frames are padded: they are of few sizes, and the text is what it is without."""

from typing import Any

import pytest
from tests.harness.fleets import run, topology

from draftwire.codecs.frame import decode_frame
from draftwire.codecs.messages import Commit, Draft, Open, SparseLogits
from draftwire.nodes.console.simulate.tracing import Tap
from draftwire.runtime.config import SecuritySettings
from draftwire.runtime.errors import ConfigurationError


def _text_and_frames(pad_to: int, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[int, ...], list[bytes]]:
    """A device's first answer at fixed K and gamma, so that it hangs on nothing but the seed."""
    frames = list[bytes]()
    own = Tap.take

    def take(self: Tap, *, data: bytes, **others: Any) -> None:
        frames.append(data)
        own(self, data=data, **others)

    with monkeypatch.context() as patch:
        patch.setattr(Tap, "take", take)
        wanted = topology(
            controller={"k": 32, "gamma": 3},
            security={"pad_to": pad_to},
            sampling={"max_new_tokens": 24},
        )
        came = run(wanted, devices=1, keep_texts=True)
    return came.devices[0].requests[0].ids, frames


def test_frames_are_padded_both_ways_and_the_text_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one of device and target to a multiple of 256 bytes, and read at the other end."""
    plain_text, plain = _text_and_frames(0, monkeypatch)
    text, padded = _text_and_frames(256, monkeypatch)
    assert plain_text == text and len(text) == 24
    assert any(len(data) % 256 for data in plain)
    assert all(len(data) % 256 == 0 for data in padded)
    messages = [(decode_frame(data).message, len(data)) for data in padded]
    assert {Open, Draft, SparseLogits, Commit} <= {type(message) for message, _ in messages}
    assert {size for message, size in messages if isinstance(message, Draft | Commit)} == {256}


@pytest.mark.parametrize("pad_to", [-1, 1, 15, 4097])
def test_what_nothing_is_padded_to(pad_to: int) -> None:
    """Less than 16 bytes hides nothing, and more than 4096 no frame may have."""
    with pytest.raises(ConfigurationError, match="write 0 for no padding, or a number from 16 to 4096"):
        SecuritySettings(pad_to=pad_to)
