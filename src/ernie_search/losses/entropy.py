"""What a teacher's entropy tells: whether it has anything to say."""

import math

ONE_HOT_NATS = 0.3
"""Below this a teacher of many candidates says what the label says (measured: 0.25 nats over 48)."""
ONE_HOT_SHARE = 0.1
FLAT_SHARE = 0.9
"""Of the largest entropy that so many candidates allow; between the two a teacher distinguishes."""
AIM_NATS = (0.5, 1.5)
AIM_SHARES = (0.25, 0.75)
"""Where to start (docs/method.md, loss 2), and what bounds it where there are few candidates."""


def entropy_advice(entropy: float, candidates: int, setting: str) -> str | None:
    """One line where a teacher is almost flat or almost one-hot; None where it is neither.

    Args:
        entropy: the teacher's mean entropy in nats.
        candidates: over how many candidates it was taken (their mean number, rounded).
        setting: the name of the temperature that moves it, for the advice.
    """
    if candidates < 2:
        return None
    largest = math.log(candidates)
    aims = [min(nats, share * largest) for nats, share in zip(AIM_NATS, AIM_SHARES, strict=True)]
    found = f"the teacher's entropy is {entropy:.2f} nats over {candidates} candidates"
    aim = f"until it is {aims[0]:.1f} to {aims[1]:.1f}"
    if entropy < min(ONE_HOT_NATS, ONE_HOT_SHARE * largest):
        return f"{found}: almost one-hot, it says nothing that the labels don't; raise {setting} {aim}"
    if entropy > FLAT_SHARE * largest:
        return f"{found}, of {largest:.2f} at most: almost flat, it prefers nothing; lower {setting} {aim}"
    return None
