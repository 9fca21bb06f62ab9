"""[observer] of a topology: who hears what all nodes tell, and where people see it."""

from dataclasses import dataclass

from draftwire.runtime.settings_checks import between, check_place, need


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverSettings:
    """[observer]: the node that hears what the others tell, and serves a page of it."""

    address: str = "tcp://127.0.0.1:5704"
    "every other node connects to it"
    bind: str | None = None
    "what the observer binds where that is another address; None: `address`"
    key: str | None = None
    "name of the key that the observer has; None: the only one of its role"
    host: str = "127.0.0.1"
    "where the page and the metrics are served: a name or an IP address of the observer's machine"
    port: int = 8700
    "of the page and the metrics; 0: a free one"
    key_file: str | None = None
    "a file of one line: the key that whoever looks must know; None: none, or that of DRAFTWIRE_API_KEY"

    def __post_init__(self) -> None:
        check_place(self.address, self.bind, self.key)
        check_web_place(self.host, self.port, self.key_file)

    @property
    def binds(self) -> str:
        """The address that the observer binds."""
        return self.bind or self.address


def check_web_place(host: str, port: int, key_file: str | None) -> None:
    """Where people reach a server, of a section that has these three. Raises ConfigurationError."""
    fits = host != "" and host.isprintable() and not any(one in host for one in "/ ")
    need(fits, "host", host, "write 127.0.0.1 for this machine alone, or one of its addresses")
    between("port", port, 0, 65535)
    fits = key_file is None or (key_file != "" and "\0" not in key_file)
    need(fits, "key_file", key_file, "name a file of one line, or leave it out")


__all__ = ["ObserverSettings", "check_web_place"]
