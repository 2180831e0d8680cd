"""Making a joint encoder of a SentenceTransformer that is already in use, as it is."""

from typing import Any, cast

from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from ernie_search.errors import ModelError, SettingsError
from ernie_search.model.base import longest_text
from ernie_search.model.joint import HEAD_FILE, HEAD_NAME, JointEncoder, TokenHead
from ernie_search.model.tokenizer import check_embedded, check_vocabulary, give_padding
from ernie_search.runtime.places import joint_folder
from ernie_search.runtime.saved_files import one_line
from ernie_search.runtime.settings import ScoreSettings


def adopt(
    model: SentenceTransformer, settings: ScoreSettings | None = None, *, seed: int = 0
) -> JointEncoder:
    """Make a joint encoder of a SentenceTransformer, in place.

    The very object becomes a :class:`JointEncoder`: whoever holds it, a trainer above all, then saves,
    resumes and moves the token head with it, and ``encode`` gives the vectors that it gave before. Only a
    change of its class does that: a wrapper or a copy would be another object than the one that the trainer
    saves.

    Args:
        model: of sentence-transformers; a joint encoder is returned unchanged.
        settings: lengths, prompts, token width; what is not given is the model's own, its lengths for
            questions and passages alike; of a saved joint model opened as a SentenceTransformer, what was
            saved.
        seed: of the fresh token head; a saved joint model keeps its own.

    Returns:
        The same object.

    Raises:
        SettingsError: settings for a joint encoder that differ from its own.
        ModelError: a class of its own, a first module that is no Transformer (a StaticEmbedding, a Router),
            cut vectors, or a model that can't be read with.
    """
    if isinstance(model, JointEncoder):
        if settings is not None and _filled(settings, model.score_settings) != model.score_settings:
            raise SettingsError(
                "this model has a token head already, which was made with other settings; give them to the "
                "first adopt(model, settings), or to ErnieSearchLoss where nothing was adopted before"
            )
        return model
    name = _check(model)
    folder = joint_folder(name)
    saved = None if folder is None else ScoreSettings.read(folder)
    own = saved or _own(model, name)
    chosen = own if settings is None else _filled(settings, own)
    transformer: Any = model[0]
    head = TokenHead(transformer.get_embedding_dimension(), chosen.token_dim, seed)
    if folder is not None:
        with one_line(f"{folder / HEAD_FILE}: missing or not of this model", "save the model again"):
            head.load_state_dict(load_file(str(folder / HEAD_FILE)))
    before = type(model)
    model.__class__ = JointEncoder
    joint = cast(JointEncoder, model)
    joint.attach_tokens, joint._uncut = True, None
    joint.token_gradient = None
    try:
        joint.score_settings = joint._settings(chosen, saved)
    except ModelError:
        joint.__class__ = before  # type: ignore[assignment]
        raise
    joint[0].add_module(HEAD_NAME, head.to(joint.device))
    joint._add_buffers()
    return joint


def _filled(settings: ScoreSettings, own: ScoreSettings) -> ScoreSettings:
    """Settings, with the model's own where none was given."""
    return own.model_copy(update={name: getattr(settings, name) for name in settings.model_fields_set})


def _check(model: SentenceTransformer) -> str:
    """Refuse what can't become a joint encoder; the directory or name that the model was made from."""
    if type(model) is not SentenceTransformer:
        raise ModelError(
            f"{type(model).__name__}: only a SentenceTransformer itself can get a token head, no class "
            "derived from it; open the model as SentenceTransformer"
        )
    first: Any = model[0] if len(model) else None
    if not isinstance(first, Transformer):
        raise ModelError(
            f"the model starts with {type(first).__name__}; a token head needs token states: choose a "
            "model that starts with a Transformer"
        )
    if model.truncate_dim is not None:
        raise ModelError(
            f"truncate_dim={model.truncate_dim}: a joint model gives whole vectors; set model.truncate_dim "
            "to None, or open the model without it"
        )
    backbone: Any = first.auto_model
    name = str(getattr(backbone.config, "_name_or_path", "") or "this model")
    check_vocabulary(model.tokenizer, name)
    check_embedded(model.tokenizer, backbone, name)
    give_padding(model.tokenizer, backbone.config, name)
    return name


def _own(model: SentenceTransformer, name: str) -> ScoreSettings:
    """The lengths that the model has now, so that its vectors stay what they are."""
    transformer: Any = model[0]
    limit = longest_text(transformer.auto_model)
    length = model.max_seq_length or limit or ScoreSettings().passage_length
    if limit is not None:
        length = min(length, limit)
    asked = getattr(transformer, "query_length", None) or length
    return ScoreSettings(query_length=min(asked, length), passage_length=length, base=name)
