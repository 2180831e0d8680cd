"""Several comparisons at once: Holm's correction of their p values."""

from collections.abc import Sequence

from ernie_search.errors import EvaluationError


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, in the order given: at most alpha where Holm's procedure rejects at level alpha.

    Of m hypotheses the smallest p is multiplied by m, the next by m - 1, and so on; none may fall below
    the one before it, and none exceeds 1 (Holm 1979, "A simple sequentially rejective multiple test
    procedure"). The probability of even one false difference among all m stays below alpha, whatever
    the dependence between the tests.

    Raises:
        EvaluationError: a value that is no probability.
    """
    for value in p_values:
        if not 0 <= value <= 1:
            raise EvaluationError(f"Holm's correction: {value} is no p value; give values between 0 and 1")
    adjusted = [0.0] * len(p_values)
    before = 0.0
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for done, place in enumerate(order):
        before = max(before, min(1.0, (len(p_values) - done) * p_values[place]))
        adjusted[place] = before
    return adjusted
