"""Speculative decoding without protocol, processes or wire: what a request's text has to be.

Thirty lines that read like the paper, with the same keys as the real thing. Each block has its own epoch, one
more than the last; it is gamma long, or what is left of the request.
"""

from draftwire.nodes.device.drafter import DraftLogits
from draftwire.nodes.speculation.noise import Key, Noise, Purpose
from draftwire.nodes.speculation.sampling import Rejection, draw, sample_target, sparsify, target_distribution
from draftwire.runtime.session.request import Request


def reference_text(
    request: Request,
    draft: DraftLogits,
    target: DraftLogits,
    *,
    k: int,
    gamma: int,
    vocab_size: int,
    noise: Noise,
) -> tuple[int, ...]:
    """The output tokens of a request under rejection, with a fixed K and gamma and no stop but the length."""
    tokens, seed, rule = list(request.prompt), request.seed, Rejection()
    end, epoch = len(tokens) + request.max_new_tokens, 0
    while len(tokens) < end:
        epoch += 1
        start, path, rows = len(tokens), list(tokens), []
        for position in range(start, min(start + gamma, end)):
            logits = draft.logits(path, 1)[0]
            rows.append(
                sparsify(
                    logits, None, k=k, temperature=request.sampling.temperature, vocab_size=vocab_size
                )
            )
            path.append(draw(rows[-1], Key(seed, epoch, position, Purpose.DRAFT), noise))
        ids = path[start:]
        p = [
            target_distribution(row, request.sampling)
            for row in target.logits(path, len(ids) + 1)
        ]
        weights = [row.weight_of(x) for row, x in zip(rows, ids, strict=True)]
        keys = [Key(seed, epoch, start + i, Purpose.ACCEPT) for i in range(len(ids))]
        n = rule.accepted(p, ids, weights, keys, noise)
        if n == len(ids):
            token = sample_target(p[n], seed, start + n, noise)
        else:
            token = rule.correction(p[n], ids[n], rows[n], Key(seed, 0, start + n, Purpose.TARGET), noise)
        tokens += [*ids[:n], token]
    return tuple(tokens[len(request.prompt) : end])


def target_text(request: Request, target: DraftLogits, noise: Noise) -> tuple[int, ...]:
    """What the target writes by itself, token by token: the text of any request whose drafts are hints."""
    tokens = list(request.prompt)
    for _ in range(request.max_new_tokens):
        p = target_distribution(target.logits(tokens, 1)[0], request.sampling)
        greedy = request.sampling.greedy
        tokens.append(int(p.argmax()) if greedy else sample_target(p, request.seed, len(tokens), noise))
    return tuple(tokens[len(request.prompt) :])


__all__ = ["reference_text", "target_text"]
