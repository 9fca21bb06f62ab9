"""[serve] of a topology: where the API of `draftwire serve` is, and how much it takes at a time."""

from dataclasses import dataclass

from draftwire.runtime.observer_settings import check_web_place
from draftwire.runtime.settings_checks import between


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """[serve]: the API that a device offers to programs."""

    host: str = "127.0.0.1"
    "a name or an IP address of the device's machine; beyond loopback it takes a key"
    port: int = 8000
    "0: a free one, which it tells"
    key_file: str | None = None
    "a file of one line: the key that clients give; None: none, or that of DRAFTWIRE_API_KEY"
    max_requests: int = 64
    "answers under way at a time; who comes then is told to come again"

    def __post_init__(self) -> None:
        check_web_place(self.host, self.port, self.key_file)
        between("max_requests", self.max_requests, 1, 4096)


__all__ = ["ServeSettings"]
