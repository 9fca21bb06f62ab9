"""What a request came to, as its device saw it: speed, acceptance, bytes."""

from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import median

from draftwire.codecs.frame import encode_frame
from draftwire.codecs.messages import (
    Acceptance,
    Commit,
    Draft,
    Finish,
    Message,
    Origin,
    Plan,
    SparseLogits,
)
from draftwire.runtime.link import LinkSpec
from draftwire.runtime.session.ahead import Ahead

FULL_ROW_BITS_AN_ENTRY = 16
"""The paper's count of a full row: V probabilities in FP16."""


@dataclass(slots=True, kw_only=True)
class Account:
    """Counts of one request; times in seconds, sizes in bytes of whole frames."""

    vocab_size: int
    downlink: LinkSpec | None = None
    "of the topology's channel; None: what the link does is not known here"
    acceptance: Acceptance = Acceptance.AUTO
    "of the request, once a BS has settled it; AUTO: not yet"
    hints: bool = False
    "drafts were hints: coupled, or at temperature 0"
    began_s: float = 0.0
    first_token_s: float | None = None
    ended_s: float = 0.0
    tokens: int = 0
    accepted: int = 0
    seen: int = 0
    steps: int = 0
    "Commits with news"
    passes: int = 0
    """of the target: each yields one token of its own, but for a last one that ends within the drafts that it
    accepts"""
    drafted: int = 0
    used: int = 0
    "drafted tokens that stand in the output because the target tested them"
    outstanding: int = 0
    "drafted tokens that nothing is known of yet; at the end there are none, as all is known"
    draft_s: list[float] = field(default_factory=list, repr=False)
    "per drafted token"
    step_s: list[float] = field(default_factory=list, repr=False)
    "the target's passes, as its Commits tell"
    bytes_up: int = 0
    bytes_down: int = 0
    draft_bytes: int = 0
    rows_bytes: int = 0
    sparse_frames: int = 0
    row_entries: int = 0
    "of the rows in them"
    spelt: Counter[str] = field(default_factory=Counter)
    "hash, in hex, of the set that rows were spelt with, empty: plain -> frames of them"
    plan: Plan | None = None
    "the last that a Commit named: what the next block would have been drawn with"
    k_used: Counter[int] = field(default_factory=Counter)
    "K -> steps whose block was drawn with it"
    gamma_used: Counter[int] = field(default_factory=Counter)
    """gamma -> steps whose block was drawn with it, 0: the target decoded alone; where drafts are hints:
    Commits that named it"""
    min_draft_used: Counter[int] = field(default_factory=Counter)
    """where drafts are hints: of those Commits the pipelined ones, by how many drafted tokens a free target
    waits for"""
    synchronous: int = 0
    "and those whose plan waits for all of gamma"
    finish: Finish = Finish.RUNNING
    _drawn: Plan | None = field(default=None, repr=False)
    "of the last block"
    _example: Commit | None = field(default=None, repr=False)
    "the first with news: how long a Commit is"

    def sent(self, message: Message, size: int, *, tables: bytes | None = None) -> None:
        """A frame went up; rows in it are spelt with the set of this hash, None: plain."""
        self.bytes_up += size
        if isinstance(message, Draft):
            self.draft_bytes += size
        elif isinstance(message, SparseLogits):
            self.rows_bytes += size
            self.sparse_frames += 1
            self.spelt[(tables or b"").hex()] += 1
            self.row_entries += sum(map(len, message.rows))

    def received(self, size: int) -> None:
        """A frame came down."""
        self.bytes_down += size

    def drew(self, tokens: int, seconds: float, plan: Plan) -> None:
        """A block was drawn by this plan."""
        self.drafted += tokens
        self._drawn = plan
        self.draft_s.append(seconds / tokens)

    def committed(self, commit: Commit, news: int, now_s: float, *, ahead: Ahead | None = None) -> None:
        """A Commit brought `news` tokens. `ahead`: what is drafted beyond the log, where drafts are hints."""
        self.plan, self.finish = commit.plan, commit.finish
        if news == 0:
            return
        self.steps += 1
        self.tokens += news
        used = sum(origin is Origin.ACCEPTED for origin in commit.origins[len(commit.origins) - news :])
        self.used += used
        ends_early = commit.finish is not Finish.RUNNING and commit.origins[-1] is Origin.ACCEPTED
        self.passes += news - used + ends_early
        if ahead is None:
            self.accepted += commit.accepted
            self.seen += commit.seen
            self._count_plan(commit)
        else:
            self.hints = True
            self.accepted, self.seen, self.used = ahead.hits, ahead.seen, ahead.used
            self.outstanding = len(ahead.chances) if commit.finish is Finish.RUNNING else 0
            self._count_hints(commit.plan)
        self.step_s.append(commit.times.step_s)
        self.ended_s = now_s
        if self.first_token_s is None:
            self.first_token_s = now_s
        if self._example is None:
            self._example = commit

    def _count_hints(self, plan: Plan) -> None:
        """By the plan in force. K is that of single rows, which count for nothing at temperature 0."""
        self.gamma_used[plan.gamma] += 1
        if plan.gamma:
            self.k_used[plan.k] += 1
        if plan.min_draft < plan.gamma:
            self.min_draft_used[plan.min_draft] += 1
        elif plan.gamma:
            self.synchronous += 1

    def _count_plan(self, commit: Commit) -> None:
        """A Commit that tells of tested drafts tells of the block drawn last: there is one at a time."""
        if not commit.seen:
            self.gamma_used[0] += 1
            return
        plan = self._drawn or commit.plan
        self.k_used[plan.k] += 1
        self.gamma_used[plan.gamma] += 1

    @property
    def wasted(self) -> int:
        """Tokens drafted for nothing: neither used nor outstanding."""
        return self.drafted - self.used - self.outstanding

    @property
    def passes_per_token(self) -> float | None:
        """The target's passes for each token of the output."""
        return self.passes / self.tokens if self.tokens else None

    @property
    def alpha(self) -> float | None:
        """Mean acceptance of a tested token; None before any was tested."""
        return self.accepted / self.seen if self.seen else None

    @property
    def tokens_per_s(self) -> float | None:
        """Output tokens over the time from the first Open to the last token."""
        span_s = self.ended_s - self.began_s
        return self.tokens / span_s if self.tokens and span_s > 0 else None

    @property
    def target_only_tokens_per_s(self) -> float | None:
        """An estimate: one token a pass, passes as long as those seen, no more Commits than the link takes.

        Measured it may be lower: a Commit also repeats the tokens not acknowledged yet, and this counts one.
        """
        passes = self._passes_per_s
        commits = self._commits_per_s
        return passes if passes is None or commits is None else min(passes, commits)

    @property
    def target_only_may_be_lower(self) -> bool:
        """Whether one-token Commits at that speed take half the link or more: the repeats then count."""
        speed, commits = self.target_only_tokens_per_s, self._commits_per_s
        return speed is not None and commits is not None and speed >= commits / 2

    @property
    def _passes_per_s(self) -> float | None:
        return 1 / median(self.step_s) if self.step_s and median(self.step_s) > 0 else None

    @property
    def _commits_per_s(self) -> float | None:
        """One-token Commits that the downlink carries; None: as many as one likes, or not known."""
        rate_bps = None if self.downlink is None else self.downlink.mean_rate_bps
        if self._example is None or self.downlink is None or rate_bps is None:
            return None
        ids, origins = self._example.ids[:1], self._example.origins[:1]
        commit = replace(self._example, ids=ids, origins=origins, accepted=0, seen=0)
        size = len(encode_frame(commit, session=0, sequence=0))
        return rate_bps / (8 * self.downlink.bytes_on_link(size))

    @property
    def bits_per_entry(self) -> float | None:
        """Of rows, envelopes included; None: none was sent."""
        return 8 * self.rows_bytes / self.row_entries if self.row_entries else None

    @property
    def tables(self) -> str:
        """The set, by its hash in hex, that most of the rows were spelt with; empty: plain."""
        return self.spelt.most_common(1)[0][0] if self.spelt else ""

    @property
    def full_rows_bytes(self) -> int:
        """What the rows of all drafted tokens would have cost over the full vocabulary, in FP16."""
        return self.drafted * self.vocab_size * FULL_ROW_BITS_AN_ENTRY // 8


__all__ = ["Account"]
