"""What a request came to: OpenAI's counts of tokens, and `draftwire`, what the link and the drafts did."""

from collections.abc import Sequence
from typing import Any

from draftwire.nodes.console.serve.answering import Answering
from draftwire.nodes.console.summary import settled
from draftwire.nodes.device.account import Account


def usage(answering: Answering) -> dict[str, Any]:
    """`usage` of a response; of several choices the sums."""
    generations = [choice.generation for choice in answering.choices]
    prompt = sum(len(one.ids) for one in answering.asked.prompts)
    tokens = sum(one.account.tokens for one in generations)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "draftwire": _extension(
            [one.account for one in generations], ttft_s=answering.ttft_s, seed=generations[0].request.seed
        ),
    }


def tokens_of(answering: Answering) -> int:
    """How many have come so far."""
    return sum(choice.generation.account.tokens for choice in answering.choices)


def _extension(accounts: Sequence[Account], *, ttft_s: float | None, seed: int) -> dict[str, Any]:
    first = accounts[0]
    seen, accepted = sum(one.seen for one in accounts), sum(one.accepted for one in accounts)
    speed, alone = _tokens_per_s(accounts), first.target_only_tokens_per_s
    plan = first.plan
    return {
        "alpha": accepted / seen if seen else None,
        "bytes_up": sum(one.bytes_up for one in accounts),
        "bytes_down": sum(one.bytes_down for one in accounts),
        "steps": sum(one.steps for one in accounts),
        "drafted": sum(one.drafted for one in accounts),
        "tokens_per_s": speed,
        "target_only_tokens_per_s": alone,
        "speed_up": None if speed is None or not alone or len(accounts) > 1 else speed / alone,
        "acceptance": settled(first),
        "k": None if plan is None or first.hints else plan.k,
        "gamma": None if plan is None else plan.gamma,
        "ttft_s": ttft_s,
        "seed": seed,
    }


def _tokens_per_s(accounts: Sequence[Account]) -> float | None:
    """Of all choices together: from the first Open to the last token."""
    if len(accounts) == 1:
        return accounts[0].tokens_per_s
    span_s = max(one.ended_s for one in accounts) - min(one.began_s for one in accounts)
    tokens = sum(one.tokens for one in accounts)
    return tokens / span_s if tokens and span_s > 0 else None


__all__ = ["tokens_of", "usage"]
