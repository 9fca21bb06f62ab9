"""Names of the Hugging Face hub, and whether it can be asked at all."""

import re
import socket
import urllib.parse
import urllib.request
from typing import Final

PROBE_TIMEOUT_S: Final = 3.0
"""Longest wait for the hub to take a connection. Its own client would try for half a minute."""

_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form owner/model, in the characters that the hub allows."""
    parts = name.split("/")
    return len(parts) == 2 and all(_PART.fullmatch(part) for part in parts)


def is_unreachable() -> bool:
    """Whether only models downloaded earlier can be had: no network, or HF_HUB_OFFLINE is set.

    Behind a proxy the answer is False, since only a request can tell.
    """
    from huggingface_hub import constants  # a quarter of a second, for hub ids only

    if constants.HF_HUB_OFFLINE:
        return True
    address = urllib.parse.urlsplit(constants.ENDPOINT)
    if address.hostname is None or urllib.request.getproxies().get(address.scheme):
        return False
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), timeout=PROBE_TIMEOUT_S).close()
    except OSError:
        return True
    return False
