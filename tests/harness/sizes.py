"""Sizes of messages from what they take on a link."""

from draftwire.runtime.link import LinkSpec


def message_bytes(on_link_bits: float) -> int:
    """Of the message that takes so many bits there, overhead included: bytes_on_link the other way round."""
    link, on_link = LinkSpec(), round(on_link_bits / 8)
    packets = -(-(on_link - link.overhead_bytes) // (link.packet_bytes + link.packet_overhead_bytes))
    found = on_link - link.overhead_bytes - packets * link.packet_overhead_bytes
    assert link.bytes_on_link(found) == on_link
    return found
