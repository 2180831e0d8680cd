"""Advice on a teacher's temperature, from its entropy."""

import math

ONE_HOT_NATS = 0.3
"""Below this a teacher over many candidates repeats the labels (measured: 0.25 nats over 48)."""
ONE_HOT_SHARE = 0.1
FLAT_SHARE = 0.9
"""Shares of the largest possible entropy, ``ln`` of the number of candidates: outside of these two a teacher
has nothing to teach."""
AIM_NATS = (0.5, 1.5)
AIM_SHARES = (0.25, 0.75)
"""What to aim for (docs/method.md, "Loss 2: interaction distillation"), and bounds for short lists."""


def entropy_advice(entropy: float, candidates: int, setting: str) -> str | None:
    """One line of advice if a teacher is almost flat or almost one-hot, else None.

    Args:
        entropy: the teacher's mean entropy in nats.
        candidates: the mean number of candidates of a question, rounded.
        setting: the name of the temperature to change, for the message.

    Returns:
        The advice, or None.

    Source: the thresholds are ours, from measurements on SQuAD.

    Example:
        >>> from ernie_search.losses import entropy_advice
        >>> entropy_advice(1.0, candidates=48, setting="teacher_temperature") is None
        True
        >>> entropy_advice(0.1, candidates=48, setting="teacher_temperature").split("; ")[1]
        'raise teacher_temperature until it is 0.5 to 1.5'
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
