"""The key that people and programs give to a server of ours: where it is kept, and where it has to be."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Final

from draftwire.runtime.errors import ConfigurationError

KEY_VARIABLE: Final = "DRAFTWIRE_API_KEY"
"""Of the environment."""

MAX_KEY_BYTES: Final = 1024

_KEY: Final = re.compile(rf"[A-Za-z0-9._~-]{{1,{MAX_KEY_BYTES}}}")
"""What needs no quoting in an address: base64's + is a space there."""


def api_key(key_file: str | None, *, key: str) -> str | None:
    """The key in that file, else that of the environment; None: there is none.

    `key` is where the file's name is written, for errors. Raises ConfigurationError for a file that can't be
    read, and for what is no key.
    """
    if key_file is None:
        found = os.environ.get(KEY_VARIABLE)
        return None if not found else _checked(found, key=KEY_VARIABLE)
    try:
        text = Path(key_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "not UTF-8 text"
        remedy = "name a file that holds one line, the key"
        raise ConfigurationError(f"{key_file!r}: {problem}", key=key, remedy=remedy) from None
    return _checked(text.strip("\r\n"), key=key)


def check_open_to(host: str, *, key: str | None, where: str, remedy: str) -> None:
    """Raise ConfigurationError for a server that other machines can reach and that asks for no key."""
    if key is None and not is_loopback(host):
        problem = f"other machines can reach {host!r}, and there is no key"
        raise ConfigurationError(problem, key=where, remedy=remedy)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name is looked up by whoever uses it: `localhost` alone is."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _checked(text: str, *, key: str) -> str:
    """What a header carries, and an address after `?key=` as it is."""
    if _KEY.fullmatch(text) is None:
        problem = "it is empty" if not text.strip() else "it is no single line of letters, digits and . _ ~ -"
        remedy = f"write one line of 1 to {MAX_KEY_BYTES} of those, for instance of `openssl rand -hex 16`"
        raise ConfigurationError(problem, key=key, remedy=remedy)
    return text


__all__ = ["KEY_VARIABLE", "api_key", "check_open_to", "is_loopback"]
