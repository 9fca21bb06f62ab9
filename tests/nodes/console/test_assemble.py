"""From a topology to nodes: what each of them binds."""

from draftwire.nodes.console.assemble import build_channel, build_controller, build_target
from draftwire.runtime.config import parse_topology
from draftwire.runtime.telemetry import get_logger
from draftwire.runtime.transport import MemoryNetwork, MemoryTransport


def _bound(text: str) -> list[str]:
    """Where target, channel and controller will be bound."""
    topology = parse_topology("[pair]\ndraft = 'synthetic:'\ntarget = 'synthetic:'\n" + text)
    transport, logger = MemoryTransport(MemoryNetwork()), get_logger("test")
    return [
        build_target(topology, transport=transport, logger=logger, progress=lambda text: None).address,
        build_channel(topology, transport=transport, logger=logger).address,
        build_controller(topology, transport=transport, logger=logger).address,
    ]


def test_nodes_bind_loopback_by_default() -> None:
    """Without a word in the file nothing can be reached from another machine."""
    assert _bound("") == [f"tcp://127.0.0.1:{port}" for port in (5701, 5700, 5702)]


def test_nodes_bind_what_the_file_says() -> None:
    """`bind` where it is written, `address` where not."""
    text = """
        [target]
        address = "tcp://bs.example.org:5701"
        bind = "tcp://*:1"
        [channel]
        address = "tcp://channel.example.org:5700"
        bind = "tcp://eth0:2"
        [controller]
        address = "tcp://10.0.0.4:5702"
        """
    assert _bound(text) == ["tcp://*:1", "tcp://eth0:2", "tcp://10.0.0.4:5702"]
