"""Collection to index: makes one, resumes an interrupted one, or brings it up to date with its source."""

import contextlib
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ernie_search._util.files import JSON, behind_link, fingerprint, remove
from ernie_search.data import chunk_passages, open_collection, validate
from ernie_search.data.collection import hold
from ernie_search.data.files import FilesSnapshot
from ernie_search.data.validation import first_of, inspect_collection
from ernie_search.encoder import EncoderKind
from ernie_search.encoding import opening
from ernie_search.encoding.before import kept_precision, made_before
from ernie_search.encoding.difference import difference, move
from ernie_search.encoding.encode import checked_passages, encode_collection
from ernie_search.encoding.executors import Executor, LocalExecutor
from ernie_search.encoding.noted import noted_source, source_from
from ernie_search.encoding.opening import ChosenPrecision, Runtime
from ernie_search.encoding.projected import Fit, held_token_dim, projected_for
from ernie_search.errors import IndexStateError, SettingsError
from ernie_search.index import Index, Origin, is_index, make_spec, open_index, passage_batch
from ernie_search.index.opening import check_part, is_shards, lance_folder, load, on_disk, open_for_shards
from ernie_search.index.spec import FieldType, check_same_model, check_same_spec, default_tokens
from ernie_search.shards import read_manifest, read_shards
from ernie_search.types import Passage

DELETED_TOGETHER = 1000
"""Ids of one deletion: they stand in one condition."""
FEW = 1000
"""Passages of changed documents up to which the import of torch takes longer than it could save."""

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A finished index, and what it took.

    Attributes:
        index: open for reading.
        encoded: passages that this call encoded; others had been, by a call that was interrupted.
        added, replaced, removed, unchanged: passages of the index, compared with before.
        truncated: of the passages encoded for it, those that were longer than the model reads.
        seconds: spent encoding, over all interrupted calls.
    """

    index: Index
    encoded: int = 0
    added: int = 0
    replaced: int = 0
    removed: int = 0
    unchanged: int = 0
    truncated: int = 0
    seconds: float = 0.0

    @property
    def up_to_date(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.added or self.replaced or self.removed)


@dataclass(frozen=True, slots=True)
class Shards:
    """Encoded passages on disk; see ``Built`` for the counts."""

    folder: Path
    encoded: int = 0
    truncated: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the passages of an index come from, read as often as needed.

    Attributes:
        name: what the user calls it.
        data: fingerprint of its content and how it is cut.
        model_name, model_fingerprint: the model that makes the vectors.
        passages: opens a reading of all passages, as they are stored.
        encode: into a folder (given one), all passages or those ids only: with the mark of what they are, and
            for which index, if that is there already.
        encoder_kind: see ``EncoderKind``.
        since: where ``passages`` are only those that changed since another content was indexed, its
            fingerprint; then ``replaces`` are the ids that they take the place of.
    """

    name: str
    data: str
    model_name: str
    model_fingerprint: str
    passages: Callable[[], Iterable[Passage]]
    encode: Callable[[Path, str, Collection[str] | None, Index | None], Shards]
    encoder_kind: EncoderKind = "joint"
    since: str | None = None
    replaces: Sequence[str] | None = None


def make_index(
    source: str | Path | FilesSnapshot,
    model: str | Path | None,
    output: str | Path,
    *,
    shards: Path | None = None,
    chunk_words: int | None = None,
    chunk_overlap: int = 0,
    fields: Mapping[str, FieldType] | None = None,
    part: tuple[int, int] = (1, 1),
    shard_size: int = 4096,
    executor: Executor | None = None,
    progress: Progress | None = None,
    expect: Progress | None = None,
    storing: Progress | None = None,
    runtime: Runtime = "auto",
    precision: ChosenPrecision | None = None,
    **settings: Any,
) -> Built:
    """Make an index of a collection, resume making it, or bring it up to date.

    An index on disk remembers its source. Where that has changed, only passages that are new, or whose title,
    text or fields changed, are encoded, and those that are gone from it are removed, in one commit: a kill
    leaves the old state or the new one. The index then holds exactly the source: what was added to it by
    other means goes. What is not named stays as the index was made: its token format and dimensions, its
    precision, its cut. An index in memory is made anew each time; into a Qdrant collection all passages are
    loaded, and none is removed.

    Args:
        source: BEIR folder, ``api:``, ..., or a folder of shards, which needs no model; a snapshot of
            documents comes from ``sync_folder``.
        model: a directory, a hub name, or the bundled base's name; of any kind that ``open_encoder`` opens.
        output: the index: a folder, ``memory://`` or ``qdrant+http://host:6333/name``.
        shards: where encoded shards are kept; without it they lie in ``OUTPUT.shards`` until the index is
            complete.
        chunk_words, chunk_overlap: cut longer passages into overlapping pieces of so many words; search then
            scores a document by its best piece.
        fields: what filters can ask for; None takes what the first passages have.
        part: ``(i, n)``: be one of n loaders of shards into a Qdrant cluster.
        shard_size: passages that are encoded together, and lost at most to an interruption.
        executor: where passages are encoded; by default in this process.
        progress: called with the number of passages encoded since its last call.
        expect: told how many passages there are before the first is encoded; not where they are cut.
        storing: called with the number of passages stored since its last call.
        runtime, precision: of the encoder; see ``open_encoder``. None: the index's, or fp32 for a new one.
        **settings: of the ``IndexSpec``: ``tokens`` (what ``default_tokens`` says), ``token_dim`` (of a plain
            encoder: to how many dimensions its token vectors are projected), ``dense``, ``ann``, ...;
            ``language`` is detected if nothing else is said.

    Raises:
        DataError: a collection that does not hold what it should.
        IndexStateError: the index was made from another source, by another model or with other settings; it
            is damaged, or another writer is at work.
        SettingsError: an impossible option.
        ErnieSearchError: see ``encode_collection``.
    """
    if settings.get("tokens") == "auto":
        del settings["tokens"]
    before = made_before(output)
    if before is not None:
        settings = before.made_with() | settings
        if chunk_words is None and not chunk_overlap and not isinstance(source, FilesSnapshot):
            chunk_words, chunk_overlap = before.cut()
    if settings.get("tokens") == "none" and "token_dim" in settings:
        raise SettingsError(
            f"token_dim={settings['token_dim']}: of an index without token matrices; leave it out"
        )
    wanted = {"token_dim": 1, **settings, "fields": dict(fields or {})}
    if wanted.get("language") == "auto":
        del wanted["language"]
    make_spec(model_name="any", model_fingerprint="any", dim=1, **wanted)  # refuses before hours of encoding
    check_part(part, output)
    check_cut(chunk_words, chunk_overlap)
    if fields is not None:
        settings["fields"] = dict(fields)
    if not isinstance(source, FilesSnapshot) and is_shards(Path(source)):
        if shards is not None:
            raise SettingsError(f"--shards: {source} is a folder of shards already; leave it out")
        found = _of_shards(Path(source))
        return _Making(found, output, settings, part, storing).run(None)
    if part != (1, 1):
        raise SettingsError(f"part {part[0]}/{part[1]}: loaders share shards that are there; make them first")
    if model is None:
        raise SettingsError("--model: needed to encode a collection; a folder of shards needs none")
    inner = _inner_shards(output) if on_disk(output) else None
    if shards is None and str(output).startswith("qdrant"):
        raise IndexStateError(f"{output}: say where the encoded shards go, with --shards")
    if shards is not None and inner is not None and shards.resolve() == inner.resolve():
        raise SettingsError(
            f"--shards: {shards} is where shards lie until the index is complete; name another"
        )
    found = _of_collection(
        source,
        model,
        chunk_words,
        chunk_overlap,
        with_tokens=settings.get("tokens") != "none",
        token_dim=settings.get("token_dim"),
        shard_size=shard_size,
        executor=executor,
        progress=progress,
        expect=expect,
        runtime=runtime,
        precision=(precision or "fp32") if before is None else before.precision(precision, output),
    )
    if settings.get("tokens", "auto") == "auto":
        server = str(output).startswith("qdrant")
        settings["tokens"] = "fp16" if server else default_tokens(found.encoder_kind)
    cut = "" if chunk_words is None else f"{chunk_words}/{chunk_overlap}"
    making = _Making(found, output, settings, part, storing, cut)
    if shards is not None:
        return making.run(shards)
    if inner is not None:
        built = making.run(inner, stale=making.discard_stale)
        if is_shards(inner):  # also those of a call that was killed after its commit
            remove(inner)
        return built
    with tempfile.TemporaryDirectory() as name:
        return making.run(Path(name))


def _inner_shards(output: str | Path) -> Path:
    """Where shards lie until the index in a folder is complete: beside it."""
    folder = behind_link(lance_folder(output))
    return folder.with_name(f"{folder.name}.shards")


class _Making:
    """One call of ``make_index``: a source, and the index that is to hold it."""

    def __init__(
        self,
        source: Source,
        output: str | Path,
        settings: dict[str, Any],
        part: tuple[int, int],
        storing: Progress | None,
        cut: str = "",
    ) -> None:
        self.cut = cut
        self.source, self.output, self.part, self.storing = source, output, part, storing
        self.fields = settings.get("fields")
        self.settings = {name: value for name, value in settings.items() if name != "fields"}

    def run(self, shards: Path | None, *, stale: Callable[[Path, str], None] | None = None) -> Built:
        """Make, resume or update.

        Args:
            shards: the folder for encoded passages.
            stale: removes what that folder holds of something else; by default that is refused.
        """
        place, self._stale = shards or Path(self.source.name), stale
        if not on_disk(self.output):
            return self._loaded(place)
        folder = lance_folder(self.output)
        origin = Origin(noted_source(self.source.name, folder), self.source.data, "complete", self.cut)
        if not is_index(folder):
            return self._filled(None, origin, place)
        index = open_index(folder, check=False)
        try:
            self._check(index, origin)
            if index.origin == origin:
                return Built(index, unchanged=len(index))
        except BaseException:
            index.close()
            raise
        index.close()
        index = open_index(folder, mode="w")
        filling = index.origin is None or index.origin.state == "filling"
        return self._filled(index, origin, place) if filling else self._updated(index, origin, place)

    def discard_stale(self, shards: Path, mark: str) -> None:
        """Remove shards that a killed call left for other data, or by another model."""
        if not is_shards(shards):
            return
        manifest = read_manifest(shards)
        with_tokens = self.settings.get("tokens") != "none"
        found = (manifest.data_fingerprint, manifest.model_fingerprint, manifest.with_tokens)
        dims = (None, manifest.token_dim)  # of a folder that was begun with another number
        wanted = (mark, self.source.model_fingerprint, with_tokens)
        if found != wanted or self.settings.get("token_dim") not in dims:
            remove(shards)

    def _check(self, index: Index, origin: Origin) -> None:
        """Refuse an index that was made from something else."""
        place, source = lance_folder(self.output), self.source
        update: dict[str, Any] = dict(self.settings)
        if update.get("language") == "auto":  # an index that is there stays in its language
            del update["language"]
        if self.fields is not None:
            update["fields"] = self.fields
        update |= {"model_name": source.model_name, "model_fingerprint": source.model_fingerprint}
        check_same_spec(str(place), index.spec.model_copy(update=update), index.spec)
        advice = "choose another"
        if not is_shards(Path(source.name)):  # 'index add' reads collections alone
            add = f"ernie-search index add {place} {source.name} --model DIR"
            advice = f"add these passages with: {add}, or choose another"
        if index.origin is None:
            if len(index):
                raise IndexStateError(f"{place}: this index was not made from a source; {advice} folder")
        elif index.origin.source != origin.source:
            raise IndexStateError(
                f"{place}: made from {source_from(index.origin.source, place)}, not {source.name}; "
                f"{advice} folder"
            )

    def _encoded(
        self,
        place: Path,
        mark: str,
        only: Collection[str] | None = None,
        index: Index | None = None,
    ) -> Shards:
        if self._stale is not None:
            self._stale(place, mark)
        return self.source.encode(place, mark, only, index)

    def _loaded(self, place: Path) -> Built:
        """All passages, in memory or on a server."""
        made = self._encoded(place, self.source.data, None, self._collection_there())
        index = open_for_shards(made.folder, self.output, fields=self.fields, **self.settings)
        with _closed_on_error(index):
            written = load(index, made.folder, part=self.part, progress=self.storing)
            index.optimize()
        if str(self.output).startswith("qdrant"):
            index.close()
            index = open_index(self.output)
        return Built(
            index,
            made.encoded,
            added=written,
            unchanged=max(len(index) - written, 0),
            truncated=made.truncated,
            seconds=made.seconds,
        )

    def _collection_there(self) -> Index | None:
        """The Qdrant collection, closed, if it was made before: its projection counts."""
        if not str(self.output).startswith("qdrant"):
            return None
        try:
            with open_index(self.output) as index:
                return index
        except IndexStateError:  # none yet, or no server: the next request says so
            return None

    def _filled(self, index: Index | None, origin: Origin, place: Path) -> Built:
        """The index, filled for the first time; ``index`` is as far as a killed call came."""
        with _closed_on_error(index):
            made = self._encoded(place, self.source.data, None, index)
            if index is None:
                index = open_for_shards(made.folder, self.output, fields=self.fields, **self.settings)
        with _closed_on_error(index):
            before = len(index)
            index.commit(replace(origin, state="filling"))
            written = load(index, made.folder, progress=self.storing)
            removed = 0
            if before and len(index) > read_manifest(made.folder).passages:
                kept = {one for shard in read_shards(made.folder, verify=False) for one in shard.ids}
                removed = _delete(index, [one for one in _ids(index) if one not in kept])
            index.optimize()
            index.commit(origin)
        return self._finished(index, made, added=written, removed=removed)

    def _updated(self, index: Index, origin: Origin, place: Path) -> Built:
        """The index, holding what its source now does: in one commit."""
        with _closed_on_error(index):
            since, held = self.source.since, index.origin
            if since is not None and (held is None or (held.data, held.state) != (since, "complete")):
                raise IndexStateError(f"{self.output}: another writer changed it meanwhile; run again")
            found = difference(index, self.source.passages(), self.source.replaces)
            made = Shards(place)
            if found.encode:
                mark = fingerprint(origin.data, "changes since commit", index.stats().commit)
                made = self._encoded(place, mark, found.encode, index)
                load(index, made.folder, progress=self.storing, only=found.encode)
            if found.moved:
                with open_index(lance_folder(self.output), check=False) as before:
                    move(index, before, found.moved, self.source.passages())
            removed = _delete(index, sorted(found.gone))
            index.commit(origin)
            if found.written or removed:
                index.optimize()
        replaced = found.written - found.new
        return self._finished(index, made, added=found.new, replaced=replaced, removed=removed)

    def _finished(self, index: Index, made: Shards, *, added: int, removed: int, replaced: int = 0) -> Built:
        index.close()
        opened = open_index(lance_folder(self.output), check=False)
        return Built(
            opened,
            made.encoded,
            added,
            replaced,
            removed,
            unchanged=len(opened) - added - replaced,
            truncated=made.truncated,
            seconds=made.seconds,
        )


def add_to_index(
    source: str | Path,
    output: str | Path,
    model: str | Path,
    *,
    chunk_words: int | None = None,
    chunk_overlap: int = 0,
    block: int = 1024,
    progress: Progress | None = None,
    runtime: Runtime = "auto",
    precision: ChosenPrecision | None = None,
) -> int:
    """Encode a collection's passages into an index that is there; those of the same id are replaced.

    Committed block by block, so that an interruption loses one at most; the same call again is no harm.

    Args:
        source: BEIR folder, ``api:``, ...
        output: the index's folder or address.
        model: the model that made the index.
        chunk_words, chunk_overlap: as for ``make_index``.
        block: passages encoded and committed together.
        progress: called with the number of passages done since its last call.
        runtime, precision: of the encoder; see ``open_encoder``. None: the index's precision.

    Returns:
        Passages written.

    Raises:
        IndexStateError: no such index, another model or precision, or another writer at work.
        DataError: a collection that does not hold what it should.
    """
    check_cut(chunk_words, chunk_overlap)
    collection = open_collection(source)
    validate(collection)
    passages: Iterable[Passage] = collection.passages()
    if chunk_words is not None:
        passages = chunk_passages(passages, chunk_words, chunk_overlap)
    written, stream = 0, iter(passages)
    with open_index(output, mode="w") as index:
        chosen = kept_precision(index.spec.passages_in, precision, output)
        encoder = opening.open_encoder(model, use="passages", runtime=runtime, precision=chosen)
        check_same_model(index.spec, encoder.name, encoder.fingerprint)
        encoder = projected_for(index, encoder)
        while some := list(islice(stream, block)):
            texts = [one.full_text for one in some]
            encoding = encoder.encode_joint(texts, "passage", tokens=index.has_tokens)
            written += index.upsert(passage_batch(some, encoding, encoder))
            index.commit()
            if progress is not None:
                progress(len(some))
    return written


def check_cut(chunk_words: int | None, chunk_overlap: int) -> None:
    """Refuse an impossible cut.

    Raises:
        SettingsError: an overlap without pieces, or as ``chunk_passages``.
    """
    if chunk_words is None and chunk_overlap:
        raise SettingsError(
            f"chunk_overlap={chunk_overlap}: needs --chunk-words, which says how long a piece is"
        )
    if chunk_words is not None:
        chunk_passages((), chunk_words, chunk_overlap)


def _of_collection(
    source: str | Path | FilesSnapshot,
    model: str | Path,
    chunk_words: int | None,
    chunk_overlap: int,
    *,
    with_tokens: bool,
    token_dim: int | None,
    shard_size: int,
    executor: Executor | None,
    progress: Progress | None,
    expect: Progress | None,
    runtime: Runtime,
    precision: ChosenPrecision,
) -> Source:
    """A collection, and the model that encodes it.

    Raises:
        SettingsError: a ``token_dim`` that the model cannot have.
    """
    snapshot = source if isinstance(source, FilesSnapshot) else None
    collection = snapshot or hold(open_collection(str(source)))
    data = collection.fingerprint
    if chunk_words is not None:
        data = fingerprint(data, "chunks", chunk_words, chunk_overlap)
    # A model that is sent to other machines must not lie on a GPU of this one.
    device = None if executor is None or isinstance(executor, LocalExecutor) else "cpu"
    use: opening.Use = "questions" if snapshot is not None and snapshot.count <= FEW else "passages"
    encoder = opening.open_encoder(model, use=use, runtime=runtime, precision=precision, device=device)
    path, ref = opening.noted_model(model)
    dim = held_token_dim(encoder, token_dim) if with_tokens else encoder.token_dim
    count: list[int] = [] if snapshot is None else [snapshot.count]

    def passages() -> Iterator[Passage]:
        if not count:
            errors, info = inspect_collection(collection)
            if errors or info is None:
                raise first_of(errors)
            count.append(info.passages)
        found: Iterable[Passage] = collection.passages()
        if chunk_words is not None:
            found = chunk_passages(found, chunk_words, chunk_overlap)
        return checked_passages(found)

    def encode(folder: Path, mark: str, only: Collection[str] | None, index: Index | None) -> Shards:
        fit = Fit(dim, passages) if dim < encoder.token_dim else None
        chosen = passages()
        if expect is not None and (only is not None or chunk_words is None):
            expect(count[0] if only is None else len(only))
        done = encode_collection(
            encoder,
            chosen if only is None else (one for one in chosen if one.id in only),
            folder,
            data_fingerprint=mark,
            shard_size=shard_size,
            with_tokens=with_tokens,
            model_path=path,
            model_ref=ref,
            progress=progress,
            executor=executor,
            projection=fit if index is None else index.projection,
        )
        return Shards(done.path, done.encoded, done.truncated, done.seconds)

    made = Source(collection.source, data, encoder.name, encoder.fingerprint, passages, encode, encoder.kind)
    if snapshot is None or snapshot.before is None:
        return made
    return replace(made, since=snapshot.before.data, replaces=snapshot.replaces)


def _of_shards(folder: Path) -> Source:
    """A folder of shards: encoded already."""
    manifest = read_manifest(folder)

    def passages() -> Iterator[Passage]:
        for shard in read_shards(folder, verify=False):
            columns = (shard.ids, shard.texts, shard.titles, shard.fields, shard.parents, shard.starts)
            for one, text, title, fields, parent, start in zip(*columns, strict=True):
                yield Passage(one, text, title, JSON.decode(fields), parent, start)

    def encode(place: Path, mark: str, only: Collection[str] | None, index: Index | None) -> Shards:
        return Shards(folder)

    data = fingerprint(manifest.data_fingerprint, [info.sha256 for info in manifest.shards])
    return Source(
        str(folder),
        data,
        manifest.model_name,
        manifest.model_fingerprint,
        passages,
        encode,
        manifest.encoder_kind,
    )


def _ids(index: Index) -> Iterator[str]:
    for batch in index.scan(["id"]):
        yield from batch.column("id").to_pylist()


def _delete(index: Index, ids: list[str]) -> int:
    starts = range(0, len(ids), DELETED_TOGETHER)
    return sum(index.delete(ids[start : start + DELETED_TOGETHER]) for start in starts)


@contextlib.contextmanager
def _closed_on_error(index: Index | None) -> Iterator[None]:
    """Close the index, which takes back what is not committed, where something fails."""
    try:
        yield
    except BaseException:
        if index is not None:
            index.close()
        raise
