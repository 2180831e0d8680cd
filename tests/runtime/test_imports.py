"""The room and all that it imports do without torch and what comes with it."""

import subprocess
import sys

from tiny_onnx import HIDDEN, sentence_files

CODE = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "sentence_transformers", "scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
import importlib, pkgutil
import ernie_search.runtime
for module in pkgutil.iter_modules(ernie_search.runtime.__path__, "ernie_search.runtime."):
    importlib.import_module(module.name)
from ernie_search.runtime import open_onnx
late = [name for name in ("onnx", "onnxruntime", "huggingface_hub") if name in sys.modules]
if late:
    sys.exit(f"imported before they are needed: {late}")
found = open_onnx(sys.argv[1]).encode_joint(["where does tea grow?"], "query")
print(found.dense.shape, found.tokens[0].shape)
"""


def test_encoding_without_torch(tmp_path):
    folder = sentence_files(tmp_path / "model")
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(folder)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"(1, {HIDDEN}) (8, {HIDDEN})"
