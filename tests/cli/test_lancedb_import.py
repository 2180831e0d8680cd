"""lancedb without its REST client: a store in a folder works, and another lancedb is imported as it is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BEGIN = """
import sys
from ernie_search.cli import lancedb_import as ours
"""

STORE = """
import pyarrow as pa
import lancedb
from lancedb.index import FTS
vectors = pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float32(), 2))
rows = pa.table({"id": ["a", "b"], "v": vectors, "t": ["x y", "z"]})
table = lancedb.connect(sys.argv[1]).create_table("t", rows)
table.create_index("t", config=FTS())
table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows.slice(1))
table.delete("id = 'none'")
table.optimize()
found = table.search([0.0, 1.0], vector_column_name="v").where("id != 'a'").limit(2).to_arrow()
words = table.search("x", query_type="fts", fts_columns="t").limit(2).to_arrow()
import json
print(json.dumps({"used": used, "found": found["id"].to_pylist(), "words": words["id"].to_pylist(),
    "left": [n for n in sys.modules if n.split(".")[0] in (*ours.STANDINS, ours.DECORATORS)],
    "finders": sum(isinstance(one, ours._Finder) for one in sys.meta_path)}))
"""


def run(code: str, folder: Path) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_store_in_a_folder_works_and_no_stand_in_is_left(tmp_path: Path) -> None:
    found = run(f"{BEGIN}used = ours.import_lancedb()\n{STORE}", tmp_path)
    # If this fails after an update of lancedb, look at what it imports now, then at KNOWN.
    assert found == {"used": True, "found": ["b"], "words": ["a"], "left": [], "finders": 0}


@pytest.mark.parametrize(
    "surprise",
    [
        "ours.KNOWN = '0.0.'",
        "import lancedb",
        "import lance_namespace",
        "ours._Standin.__getattr__ = lambda self, name: 1 / 0",
    ],
    ids=["another version", "imported before", "in use", "a stand-in that does not fit"],
)
def test_else_it_is_imported_as_it_is(tmp_path: Path, surprise: str) -> None:
    found = run(f"{BEGIN}{surprise}\nused = ours.import_lancedb()\n{STORE}", tmp_path)
    assert (found["used"], found["found"], found["finders"]) == (False, ["b"], 0)
    assert "lance_namespace" in found["left"]


def test_what_was_left_out_says_so() -> None:
    code = f"{BEGIN}ours.import_lancedb()\nimport lancedb.db as db\ndb.ListTablesResponse()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "was left out when lancedb was imported" in done.stderr
