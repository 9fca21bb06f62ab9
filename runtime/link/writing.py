"""Links as words that reading.py reads back; tc takes those that it knows."""

from decimal import Decimal
from typing import TYPE_CHECKING, Final

from draftwire.runtime.link.quoting import quoted
from draftwire.runtime.link.units import (
    FREQUENCY_UNITS,
    RATE_UNITS,
    scaled,
    share_words,
    size_words,
    time_words,
)

if TYPE_CHECKING:
    from draftwire.runtime.link.fading import Fading
    from draftwire.runtime.link.spec import BurstLoss, LinkSpec, RandomLoss

_UNLIMITED: Final = "unlimited"


def words_of(link: "LinkSpec", before: "LinkSpec") -> str:
    """What differs from `before`, in words that parse_link(..., after=before) reads back as this link."""
    rate, of_tbf = _rate(link, before), _limit_of_tbf(link, before)
    if of_tbf and link.rate_bps:
        of_tbf, rate = [of_tbf[0], *rate, *of_tbf[1:]], []
    words = rate
    for write in (_delay, _loss, _duplicate, _corrupt, _reorder):
        if write(link) != write(before):
            words += write(link)
    words += _limits(link, before)
    if _overhead(link) != _overhead(before):
        words += _overhead(link)
    return " ".join([*words, *of_tbf])


def sending_words(link: "LinkSpec") -> str:
    """How fast it sends: `rate 5mbit`, `trace lte-like`, `rayleigh 15db 5mhz 20ms`, `rate unlimited`."""
    if link.trace is not None:
        return f"trace {quoted(link.trace.name)}"
    if link.fading is not None:
        return _fading(link.fading)
    if link.rate_bps is None:
        return f"rate {_UNLIMITED}"
    return f"rate {scaled(link.rate_bps, RATE_UNITS, ('gbit', 'mbit', 'kbit', 'bit'))}"


def _rate(link: "LinkSpec", before: "LinkSpec") -> list[str]:
    sending = sending_words(link)
    differs = link.trace != before.trace or sending != sending_words(before)
    burst = ["burst", size_words(link.burst_bytes)] if link.burst_bytes != before.burst_bytes else []
    if burst and link.mean_rate_bps is None:  # reading.py takes no burst without a word on the rate
        differs = True
    return [*([sending] if differs else []), *burst]


def _limit_of_tbf(link: "LinkSpec", before: "LinkSpec") -> list[str]:
    """The limit in bytes where it is tbf's, last of all: what stands behind `tbf` has its meaning there."""
    of_tbf = link.limit_bytes is not None and link.limit_is_of_queue
    if link.limit_bytes is None or not of_tbf or _byte_limit(link) == _byte_limit(before):
        return []
    return ["tbf", "limit", size_words(link.limit_bytes)]


def _limits(link: "LinkSpec", before: "LinkSpec") -> list[str]:
    from draftwire.runtime.link.spec import MAX_LIMIT_MESSAGES  # not above: spec.py imports this file

    of_tbf = bool(_limit_of_tbf(link, before))
    words = list[str]()
    if link.limit_messages != (MAX_LIMIT_MESSAGES if of_tbf else before.limit_messages):
        words += ["limit", str(link.limit_messages)]
    if not of_tbf and _byte_limit(link) != _byte_limit(before):
        words += ["limit", _UNLIMITED if link.limit_bytes is None else size_words(link.limit_bytes)]
    return words


def _byte_limit(link: "LinkSpec") -> tuple[int | None, bool]:
    return link.limit_bytes, link.limit_bytes is not None and link.limit_is_of_queue


def _fading(fading: "Fading") -> str:
    snr = f"{Decimal(repr(float(fading.snr_db))).normalize():f}db"
    bandwidth = scaled(fading.bandwidth_hz, FREQUENCY_UNITS, ("ghz", "mhz", "khz", "hz"))
    return f"rayleigh {snr} {bandwidth} {time_words(fading.coherence_s)}"


def _delay(link: "LinkSpec") -> list[str]:
    words = ["delay", time_words(link.delay_s)]
    named = link.distribution != "uniform"
    if link.jitter_s or link.jitter_correlation or named:
        words.append(time_words(link.jitter_s))
    if link.jitter_correlation:
        words.append(share_words(link.jitter_correlation))
    return [*words, "distribution", link.distribution.value] if named else words


def _loss(link: "LinkSpec") -> list[str]:
    if link.loss is None:
        return ["loss", "none"]
    arq = [] if link.arq_s is None else ["arq", time_words(link.arq_s)]
    return ["loss", *_chances(link.loss), *arq]


def _chances(loss: "RandomLoss | BurstLoss") -> list[str]:
    from draftwire.runtime.link.spec import RandomLoss  # not above: spec.py imports this file

    if isinstance(loss, RandomLoss):
        return _with_correlation(loss.share, loss.correlation)
    shares = [loss.to_bad, loss.to_good, loss.bad_loss, loss.good_loss]
    needed = 4 if loss.good_loss else 3 if loss.bad_loss != 1 else 2
    return ["gemodel", *map(share_words, shares[:needed])]


def _duplicate(link: "LinkSpec") -> list[str]:
    return ["duplicate", *_with_correlation(link.duplicate, link.duplicate_correlation)]


def _corrupt(link: "LinkSpec") -> list[str]:
    return ["corrupt", *_with_correlation(link.corrupt, link.corrupt_correlation)]


def _reorder(link: "LinkSpec") -> list[str]:
    words = ["reorder", *_with_correlation(link.reorder, link.reorder_correlation)]
    return words if link.reorder_gap == 1 else [*words, "gap", str(link.reorder_gap)]


def _with_correlation(share: float, correlation: float) -> list[str]:
    return [share_words(share), *([share_words(correlation)] if correlation else [])]


def _overhead(link: "LinkSpec") -> list[str]:
    from draftwire.runtime.link.spec import DEFAULT_PACKET_BYTES  # not above, as there

    sizes = [link.overhead_bytes]
    if link.packet_overhead_bytes or link.packet_bytes != DEFAULT_PACKET_BYTES:
        sizes.append(link.packet_overhead_bytes)
    if link.packet_bytes != DEFAULT_PACKET_BYTES:
        sizes.append(link.packet_bytes)
    return ["overhead", *(f"{size}b" for size in sizes)]


__all__ = ["sending_words", "words_of"]
