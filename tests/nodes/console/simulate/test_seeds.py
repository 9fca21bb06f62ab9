"""Named streams: the same numbers in every process and version, another name another stream."""

from draftwire.nodes.channel.playing import Direction
from draftwire.nodes.console.simulate.seeds import number_of, stream_of
from draftwire.nodes.console.simulate.tracing import Tap, TraceHash


def test_numbers_are_those_of_their_names() -> None:
    """Golden: a trace hash must repeat elsewhere; and within its bits."""
    assert number_of(1, "boot", "bs-0001", bits=32) == 2076405248
    assert 0 <= number_of(1, "x", bits=63) < 2**63
    names = [("a", "bc"), ("ab", "c"), ("abc",), ("a", 1), ("a", 11)]
    assert len({number_of(1, *one) for one in names} | {number_of(2, "abc")}) == 6


def test_streams_are_apart() -> None:
    """Drawing from one moves no other."""
    one, same = stream_of(5, "device", "device-0001"), stream_of(5, "device", "device-0001")
    stream_of(5, "device", "device-0002").random()
    assert [one.random() for _ in range(3)] == [same.random() for _ in range(3)]


def test_a_trace_hash_covers_all_that_a_message_is() -> None:
    """Time, direction, device, bytes, order, and texts: change one and the hash is another."""

    def hashed(*messages: tuple[float, Direction, str, bytes], text: bytes = b"t") -> str:
        trace = TraceHash()
        tap = Tap(trace, lambda device, at_s: None)
        for at_s, direction, device, data in messages:
            tap.take(at_s=at_s, direction=direction, device=device, data=data, lost=None)
        trace.text("d", text)
        return trace.hex()

    up, down = (1.0, Direction.UPLINK, "d", b"xy"), (1.0, Direction.DOWNLINK, "d", b"xy")
    hashes = [
        hashed(up),
        hashed(down),
        hashed(up, down),
        hashed(down, up),
        hashed((1.5, Direction.UPLINK, "d", b"xy")),
        hashed((1.0, Direction.UPLINK, "dx", b"y")),
        hashed((1.0, Direction.UPLINK, "d", b"xz")),
        hashed(up, text=b"u"),
    ]
    assert len(set(hashes)) == len(hashes)
    assert hashed(up) == hashes[0]


def test_who_sent_something_is_told() -> None:
    """Uplink messages say that a device is at work; what comes down does not."""
    heard = list[tuple[str, float]]()
    tap = Tap(TraceHash(), lambda device, at_s: heard.append((device, at_s)))
    tap.take(at_s=2.0, direction=Direction.DOWNLINK, device="d", data=b"", lost=None)
    tap.take(at_s=3.0, direction=Direction.UPLINK, device="d", data=b"", lost=None)
    assert heard == [("d", 3.0)]
