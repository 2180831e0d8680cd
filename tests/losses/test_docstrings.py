"""Every public loss says what it takes and gives, where it is from, and shows an example that runs."""

import doctest
import inspect
import re
from collections.abc import Callable

import pytest

from ernie_search import losses
from ernie_search.losses import entropy_advice

FUNCTIONS = [one for one in (getattr(losses, name) for name in losses.__all__) if inspect.isfunction(one)]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_a_public_loss_has_every_heading(function: Callable[..., object]):
    text = inspect.getdoc(function) or ""
    headings = ["Args", "Returns", "Source", "Example"]
    if function is not entropy_advice:  # of numbers, not tensors
        headings.append("Shapes")
    if re.search(r"^\s+raise ", inspect.getsource(function), re.MULTILINE):
        headings.append("Raises")
    assert [name for name in headings if not re.search(rf"^{name}:", text, re.MULTILINE)] == []


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_the_example_prints_what_it_says(function: Callable[..., object]):
    flags = doctest.NORMALIZE_WHITESPACE
    found = doctest.DocTestFinder(recurse=False).find(function, function.__name__, globs={})
    results = [doctest.DocTestRunner(optionflags=flags).run(one) for one in found]
    assert sum(result.attempted for result in results) > 0
    assert sum(result.failed for result in results) == 0
