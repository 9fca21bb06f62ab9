"""Lambert's W, in the one form that the best draft length needs, where the plain one loses its digits."""

import math


def log_minus_w(s: float) -> float:
    """ln(-W_{-1}(-e^(-1-s))) for s > 0: the y > 0 with e^y - y - 1 = s.

    Between 1e-6 and 700 that is Lambert W as it stands. Above, e^(-1-s) underflows, and v = 1 + s + ln(v)
    settles in a few rounds; below, W near its branch point loses half its digits, and a series does not.
    """
    if s > 700:
        v = 1 + s
        for _ in range(6):
            v = 1 + s + math.log(v)
        return math.log(v)
    if s < 1e-6:
        t = math.sqrt(2 * s)
        return t - t**2 / 6 + t**3 / 36
    from scipy.special import lambertw  # a third of what `draftwire` takes to start, for `plan` alone

    return math.log(-lambertw(-math.exp(-1 - s), k=-1).real)


__all__ = ["log_minus_w"]
