"""What a context has computed of a log that goes on meanwhile."""

from draftwire.nodes.models.prefix import common_prefix
from draftwire.runtime.session.log import TokenLog


class Cached:
    """Tokens that a context has computed, and how many of them a log has too.

    A log only grows, so a look at it goes on where the last one ended; another log is read from its start.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._log: TokenLog | None = None
        "that was looked at last"
        self._alike = 0
        "tokens that it begins with as `_tokens` do, as far as is known"

    def clear(self) -> None:
        """The context is gone, or a new one."""
        self._tokens, self._log, self._alike = [], None, 0

    def took(self, tokens: list[int], log: TokenLog) -> None:
        """A pass has computed these: what was computed of the log, more of it, drafts behind its end."""
        if log is not self._log:
            self._log, self._alike = log, 0
        self._tokens = tokens

    def of(self, log: TokenLog) -> int:
        """How many of the log's first tokens are there."""
        if log is not self._log:
            self._log, self._alike = log, 0
        self._alike = common_prefix(self._tokens, log.tokens, known=self._alike)
        return self._alike


__all__ = ["Cached"]
