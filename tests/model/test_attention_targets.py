"""The cross-encoder's attention on the student's tokens: against the model's own maps and against a loop."""

from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import (
    AlbertConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertTokenizerFast,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ErnieConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    RoFormerConfig,
)

from ernie_search.errors import ModelError
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.model.attention import (
    ABSENT,
    AttentionTargets,
    at_rest,
    attention_maps,
    attention_targets,
    check_attention,
    check_attention_teacher,
    compare_tokenizers,
    evenness,
    find_projections,
    places,
    spans,
)
from tiny_model import VOCABULARY, tokenizer

SIZES = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "num_labels": 1,
    "pad_token_id": 0,
}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
PAIRS = [
    ("where does tea grow?", "tea grows in the hills, where the rain is"),
    ("rice", "rice"),
    ("the river is long: " + "water of the river " * 4, "wheat, wheat, wheat."),  # the student cuts it
    ("is 水 water?", "水 in the rice " + "the river is long " * 12),  # both cut it, at different places
    ("a ✪ in the [SEP] rain", "a ✪ that no vocabulary holds, [SEP] written out"),
]


def cross_encoder(folder: Path, config: Any, length: int = 40, **tokenizer_options: Any) -> CrossEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    made = tokenizer()
    if tokenizer_options:
        made = BertTokenizerFast(vocab=made.get_vocab(), **tokenizer_options)
    if config.model_type in ("distilbert", "roberta", "mpnet", "modernbert"):  # they know one kind of segment
        made.model_input_names = ["input_ids", "attention_mask"]
    made.save_pretrained(folder)
    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    model.max_seq_length = length
    return model


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> CrossEncoder:
    return cross_encoder(tmp_path_factory.mktemp("teachers") / "bert", BertConfig(**SIZES))


def own_map(teacher: CrossEncoder, question: str, passage: str, layer: int = -1) -> tuple[torch.Tensor, int]:
    """A layer's own attention over one pair alone, mean over heads, and where the passage begins."""
    read = teacher.tokenizer(
        question, passage, truncation="longest_first", max_length=teacher.max_seq_length, return_tensors="pt"
    )
    slow = AutoModelForSequenceClassification.from_pretrained(
        teacher.model.config._name_or_path, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        attention = slow(**read, output_attentions=True).attentions[layer][0].mean(dim=0)
    return attention, read.sequence_ids(0).index(1)


def spelled_out(
    teacher: CrossEncoder, student: JointEncoder, query_length: int, passage_length: int
) -> AttentionTargets:
    """The targets by counting tokens, without any offsets: both sides keep the beginning of a text."""
    pieces = student.tokenizer
    special = set(student.special_ids.tolist())
    found = AttentionTargets(
        torch.zeros(len(PAIRS), query_length, passage_length),
        torch.zeros(len(PAIRS), query_length),
        torch.zeros(len(PAIRS), query_length, dtype=torch.bool),
        torch.zeros(len(PAIRS), passage_length, dtype=torch.bool),
    )

    def words(text: str) -> list[int]:
        return pieces(text, add_special_tokens=False)["input_ids"]

    for b, (question, passage) in enumerate(PAIRS):
        attention, first = own_map(teacher, question, passage)
        asked, told = words(question), words(passage)
        n_question, n_passage = first - 2, len(attention) - first - 1
        prompts = [len(words(student.prompt_of(task))) for task in ("query", "passage")]
        limits = [student.length_of(task) - 2 for task in ("query", "passage")]
        q_kept = [i for i in range(min(n_question, limits[0] - prompts[0])) if asked[i] not in special]
        p_kept = [j for j in range(min(n_passage, limits[1] - prompts[1])) if told[j] not in special]
        for i in q_kept:
            row = attention[1 + i]
            whole = sum(float(row[first + j]) for j in range(n_passage) if told[j] not in special)
            mass = sum(float(row[first + j]) for j in p_kept)
            at = 1 + prompts[0] + i
            found.query_kept[b, at] = True
            found.row_weight[b, at] = whole
            for j in p_kept:
                found.map[b, at, 1 + prompts[1] + j] = float(row[first + j]) / mass
        for j in p_kept:
            found.passage_kept[b, 1 + prompts[1] + j] = True
    return found


def assert_same(ours: AttentionTargets, other: AttentionTargets) -> None:
    for name in ("map", "row_weight"):
        torch.testing.assert_close(getattr(ours, name), getattr(other, name), atol=1e-5, rtol=1e-4)
    for name in ("query_kept", "passage_kept"):
        assert torch.equal(getattr(ours, name), getattr(other, name))


KINDS = {
    "bert": BertConfig(**SIZES),
    "ernie": ErnieConfig(**SIZES),
    "electra": ElectraConfig(**SIZES, embedding_size=32),
    "roberta": RobertaConfig(**SIZES),
    "albert": AlbertConfig(**SIZES, embedding_size=16),
    "distilbert": DistilBertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=128, initializer_range=0.2, num_labels=1, **DISTIL
    ),
}


@pytest.mark.parametrize("layer", [-1, 0, -2, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_map_is_the_models_own(kind: str, layer: int, tmp_path: Path) -> None:
    teacher = cross_encoder(tmp_path / kind, KINDS[kind])
    assert teacher.model.config._attn_implementation == "sdpa"  # the fast one, which returns no maps
    check_attention(teacher, layer)
    assert teacher.model.config._attn_implementation == "sdpa"
    read = teacher.tokenizer(
        [pair[0] for pair in PAIRS],
        [pair[1] for pair in PAIRS],
        truncation="longest_first",
        max_length=40,
        padding=True,
        return_tensors="pt",
    )
    rows = torch.arange(read["input_ids"].shape[1])[None].expand(len(PAIRS), -1)
    with at_rest(teacher):
        ours = attention_maps(teacher, dict(read), rows, layer=layer)
    torch.testing.assert_close(ours.sum(dim=-1), torch.ones(rows.shape))
    for row, pair in enumerate(PAIRS):
        expected, _ = own_map(teacher, *pair, layer)
        length = len(expected)
        torch.testing.assert_close(ours[row, :length, :length], expected, atol=1e-5, rtol=1e-4)
        assert ours[row, :length, length:].abs().sum() == 0


@pytest.mark.parametrize(
    ("kind", "config", "why"),
    [
        (
            "modernbert",
            ModernBertConfig(**SIZES, cls_token_id=2, sep_token_id=3, bos_token_id=2, eos_token_id=3),
            "no query and key projections",
        ),
        ("mpnet", MPNetConfig(**SIZES), "no query and key projections"),
        ("deberta", DebertaV2Config(**SIZES, relative_attention=True), "no query and key projections"),
        ("roformer", RoFormerConfig(**SIZES, embedding_size=32), "not the plain softmax"),
    ],
)
def test_attention_of_another_kind_is_refused(kind: str, config: Any, why: str, tmp_path: Path) -> None:
    teacher = cross_encoder(tmp_path / kind, config)
    with pytest.raises(ModelError, match=why) as caught:
        check_attention(teacher)
    assert "set the weight of attention to 0" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layer", [2, -3])
def test_a_layer_that_the_teacher_has_not_is_refused(teacher: CrossEncoder, layer: int) -> None:
    with pytest.raises(
        ModelError, match=rf"has 2 layers, so attention_layer={layer} is none .* 0 to 1, or -1 .* to -2"
    ):
        check_attention(teacher, layer)


def test_evenness_is_one_for_even_rows_and_nothing_for_sharp_ones() -> None:
    kept = torch.tensor([[True] * 4, [True, True, False, False]])
    rows = torch.ones(2, 3, dtype=torch.bool)
    even = kept[:, None, :].float().expand(2, 3, 4) / kept.sum(dim=1)[:, None, None]
    sharp = torch.zeros(2, 3, 4).index_fill(2, torch.tensor([1]), 1.0)
    weight = torch.tensor([[0.5, 0.1, 0.0], [0.2, 0.2, 0.0]])

    def found(attention: torch.Tensor) -> float:
        return evenness(AttentionTargets(attention, weight, rows, kept))

    assert found(even) == pytest.approx(1.0)
    assert found(sharp) == pytest.approx(0.0)
    mixed = torch.cat([even[:1], sharp[1:]])
    assert found(mixed) == pytest.approx(0.6)  # the first pair's share of the weight


@pytest.mark.parametrize("budget", [None, 1, 100])
@pytest.mark.parametrize("base", ["sentence", "prompted"])
def test_targets_equal_the_loop(
    base: str,
    budget: int | None,
    teacher: CrossEncoder,
    settings: ScoreSettings,
    request: pytest.FixtureRequest,
) -> None:
    student = from_base(str(request.getfixturevalue(base)), settings=settings, device="cpu")
    check_attention_teacher(teacher, student)
    ours = attention_targets(teacher, student, PAIRS, 18, 50, token_budget=budget)
    assert_same(ours, spelled_out(teacher, student, 18, 50))
    torch.testing.assert_close(ours.map.sum(dim=-1), ours.query_kept.float())
    assert ours.map[:, :, ~ours.passage_kept.any(dim=0)].abs().sum() == 0
    assert bool(((ours.row_weight > 0) == ours.query_kept).all())


def test_the_rows_are_those_that_the_student_encodes(
    teacher: CrossEncoder, prompted: Path, settings: ScoreSettings
) -> None:
    from ernie_search.model.encode import padded, tokenize

    student = from_base(str(prompted), settings=settings, device="cpu").eval()
    widths, masks = [], []
    for task, part in (("query", 0), ("passage", 1)):
        tokens = tokenize(student, [pair[part] for pair in PAIRS], task)
        with torch.no_grad():
            _, mask = student.read(padded(tokens.ids, 0, tokens.prompt_length)).late()
        widths.append(mask.shape[1])
        masks.append(mask)
    found = attention_targets(teacher, student, PAIRS, *widths)
    assert not bool((found.query_kept & ~masks[0]).any())
    assert not bool((found.passage_kept & ~masks[1]).any())
    # All that the student compares is taught, but for what the teacher cut away.
    assert torch.equal(found.query_kept, masks[0])
    assert torch.equal(found.passage_kept[:3], masks[1][:3])
    assert found.passage_kept[3].sum() < masks[1][3].sum()


def test_a_teachers_prompt_shifts(tmp_path: Path, model: JointEncoder) -> None:
    plain = cross_encoder(tmp_path / "plain", BertConfig(**SIZES))
    prompted = CrossEncoder(
        plain.model.config._name_or_path,
        device="cpu",
        local_files_only=True,
        prompts={"ask": "query: "},
        default_prompt_name="ask",
    )
    prompted.max_seq_length = 40
    found = attention_targets(prompted, model, PAIRS[:1], 16, 48)
    attention, first = own_map(prompted, "query: " + PAIRS[0][0], PAIRS[0][1])
    asked, told = (model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in PAIRS[0])
    rows = attention[3 : 3 + len(asked), first:-1]
    torch.testing.assert_close(
        found.row_weight[0, 1 : 1 + len(asked)], rows.sum(dim=-1), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(
        found.map[0, 1 : 1 + len(asked), 1 : 1 + len(told)],
        rows / rows.sum(dim=-1, keepdim=True),
        atol=1e-5,
        rtol=1e-4,
    )


def test_the_teacher_is_left_as_it_was(teacher: CrossEncoder, model: JointEncoder) -> None:
    still = attention_targets(teacher, model, PAIRS, 16, 48)
    teacher.train()
    try:
        found = attention_targets(teacher, model, PAIRS, 16, 48)  # no dropout in it
        assert teacher.training
    finally:
        teacher.eval()
    assert_same(found, still)
    assert not found.map.requires_grad
    assert not found.map.is_inference()  # a loss may keep it for its backward
    hooked = [one for pair in find_projections(teacher) for one in pair if one._forward_hooks]
    assert hooked == []


def test_texts_without_a_token_have_nothing_to_show(teacher: CrossEncoder, model: JointEncoder) -> None:
    pairs = [("", "rice"), ("rice", ""), ("[SEP]", "rice"), ("rice", "water")]
    found = attention_targets(teacher, model, pairs, 16, 48)
    assert found.query_kept.any(dim=1).tolist() == [False, False, False, True]
    assert bool(found.map.isfinite().all())
    assert found.row_weight[:3].abs().sum() == 0
    none = attention_targets(teacher, model, [], 16, 48)
    assert (none.map.shape, none.query_kept.shape) == ((0, 16, 48), (0, 16))


def test_rows_too_narrow_are_refused(teacher: CrossEncoder, model: JointEncoder) -> None:
    with pytest.raises(ModelError, match=r"query_length=5, but .* 16 tokens"):
        attention_targets(teacher, model, PAIRS, 5, 48)
    with pytest.raises(ModelError, match=r"passage_length=47, but .* 48 tokens"):
        attention_targets(teacher, model, PAIRS, 16, 47)


def test_one_tokenizer_is_demanded(teacher: CrossEncoder, model: JointEncoder, tmp_path: Path) -> None:
    compare_tokenizers(teacher.tokenizer, model.tokenizer)
    cased = cross_encoder(tmp_path / "cased", BertConfig(**SIZES), do_lower_case=False)
    with pytest.raises(ModelError, match=r"normalise text differently \(the tokenizer's normalizer\)"):
        compare_tokenizers(cased.tokenizer, model.tokenizer)
    cased.tokenizer.add_tokens(["monsoon"])
    with pytest.raises(ModelError, match="'monsoon'") as caught:
        check_attention_teacher(cased, model)
    assert "their vocabularies differ" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_spans_ignore_blanks_and_tell_bytes_apart() -> None:
    class Encoding:
        """Of "p: tea ✪ ", whose "p:" is the prompt, and a second text."""

        offsets = ((0, 0), (0, 2), (1, 4), (2, 6), (6, 8), (7, 8), (8, 9), (7, 8), (0, 3), (0, 0))
        sequence_ids = (None, 0, 0, 0, 0, 0, 0, 0, 1, None)
        ids = (2, 5, 6, 7, 8, 9, 10, 11, 12, 3)

    # Left out: the prompt, what begins in it, a blank alone.
    assert spans(Encoding(), " tea ✪ ", prompt="p:") == {
        (1, 4, 0): 3,
        (5, 6, 0): 4,
        (5, 6, 1): 5,
        (5, 6, 2): 7,
    }
    assert spans(Encoding(), " tea ✪ ", prompt="p:", left_out={7, 8, 9}) == {(5, 6, 0): 7}
    assert spans(Encoding(), "tea", part=1) == {(0, 3, 0): 8}


def test_places_of_what_only_one_side_holds() -> None:
    teacher, student = {(1, 4, 0): 7, (9, 10, 0): 8}, {(1, 4, 0): 2, (5, 6, 0): 3}
    assert places(teacher, student, 5) == [ABSENT, ABSENT, 7, ABSENT, ABSENT]
