"""Without its package an integration says what to install."""

import importlib
import re
import sys

import pytest

PACKAGES = {
    "langchain": "langchain_core",
    "llamaindex": "llama_index",
    "haystack": "haystack",
    "mteb": "mteb",
}


@pytest.mark.parametrize(("name", "package"), PACKAGES.items())
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, package):
    module = f"ernie_search.integrations.{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    loaded = [one for one in sys.modules if one == package or one.startswith(f"{package}.")]
    for one in {package, *loaded}:
        monkeypatch.setitem(sys.modules, one, None)
    with pytest.raises(ModuleNotFoundError, match=re.escape(f"pip install 'ernie-search[{name}]'")):
        importlib.import_module(module)
