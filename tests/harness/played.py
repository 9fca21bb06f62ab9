"""Links as `draftwire link plot` plays them."""

from functools import partial

from draftwire.nodes.channel.links import streams_of
from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.link_playing import Played, play
from draftwire.runtime.link import parse_schedule


def played(words: str, *, seconds: float = 10.0, seed: int = 0, message_bytes: int = 1000) -> Played:
    """What this link or schedule does with messages of device-1's uplink."""
    streams = partial(streams_of, seed, "device-1", Direction.UPLINK)
    return play(parse_schedule(words), seconds=seconds, message_bytes=message_bytes, streams=streams)
