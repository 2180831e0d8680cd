"""List passages: who is drawn, cached vectors, the terms over the whole list, and resuming with them."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ernie_search.errors import SettingsError, TrainingError
from ernie_search.losses import candidates
from ernie_search.mining.lists import Lists, TrainingList, write_lists
from ernie_search.model import JointEncoder, ScoreSettings, from_base
from ernie_search.training import TrainingData, TrainSettings, prepare, train
from ernie_search.training.batches import Collator, Example, StepBatches
from ernie_search.training.joint import list_cache
from ernie_search.training.list_cache import ListCache
from ernie_search.training.step import JointLoss
from ernie_search.training.student import make_ready
from ernie_search.training.world import World
from tiny_training import collection, settings, weights

SHIFTS = (1, 3, 8, 13, 21)
WIDE: dict[str, Any] = {
    "negatives": 2,
    "list_passages": 3,
    "distillation_candidates": "list",
    "cascade_weight": 0.5,
    "direct_weight": 0.7,
    "margin_weight": 0.1,
    "follow_lead": False,
}


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Lists:
    """Five negatives a question; the second one is denoised and has the highest score, the last one none."""
    rows = [
        TrainingList(
            f"q{i}",
            (f"p{i}",),
            tuple(f"p{(i + shift) % 40}" for shift in SHIFTS),
            (4.0,),
            (0.5, 5.0 + i % 3, 1.5, 0.0, math.nan),
            kept=(True, False, True, True, True),
        )
        for i in range(40)
    ]
    folder = tmp_path_factory.mktemp("lists") / "scored"
    return write_lists(folder, rows, data_fingerprint=collection().fingerprint, about={})


@pytest.fixture(scope="module")
def data(lists: Lists) -> TrainingData:
    return prepare(collection(), settings(**WIDE, evaluations=0), lists)


@pytest.fixture
def model(base: str) -> JointEncoder:
    """In eval mode, so that dropout is off."""
    lengths = ScoreSettings(token_dim=16, query_length=32, passage_length=60)
    return from_base(base, settings=lengths, device="cpu").eval()


def batches_of(data: TrainingData, chosen: TrainSettings, steps: int = 1) -> StepBatches:
    return StepBatches(
        data.examples,
        steps=steps,
        questions=6,
        negatives=chosen.negatives,
        seed=0,
        listed=chosen.listed,
        contrastive=chosen.contrastive,
    )


def test_denoised_negatives_are_listed_and_only_fill_a_group_that_lacks_others():
    example = Example("q", ("p",), ("a", "b", "c", "d"), kept=(True, False, True, False))
    assert example.denoised == {"b", "d"}
    assert example.draw([1, 2, 3, 0], 1, 2) == ([2], [1, 3])  # c; then b and d, in the order of the draw
    assert example.draw([1, 2, 3, 0], 2, 9) == ([2, 0], [1, 3])
    assert example.draw([3, 2, 1, 0], 3, 9) == ([2, 0, 3], [1])
    everyone = Example("q", ("p",), ("a", "b", "c"))
    assert everyone.draw([2, 0, 1], 2, 0) == ([2, 0], [])


def test_list_passages_change_no_group_and_are_of_the_rest_of_the_list(data):
    chosen = settings(**WIDE)
    with_lists, without = batches_of(data, chosen, 4), batches_of(data, settings(negatives=2), 4)
    for step in range(4):
        batch = with_lists[step]
        assert batch.step == step
        assert batch.groups == without[step].groups
        assert without[step].listed == [[]] * 6
        rows = zip(batch.ids, batch.groups, batch.listed, batch.listed_scores, batch.denoised, strict=True)
        for name, group, listed, scores, denoised in rows:
            number = int(name[1:])
            assert denoised == {f"p{(number + 3) % 40}"}
            assert not denoised & set(group)
            assert {*group[1:], *listed} == {f"p{(number + shift) % 40}" for shift in SHIFTS}
            assert len(listed) == 3
            known = dict(zip(SHIFTS, (0.5, 5.0 + number % 3, 1.5, 0.0, math.nan), strict=True))
            for passage, score in zip(listed, scores, strict=True):
                expected = known[(int(passage[1:]) - number) % 40]
                assert score == pytest.approx(expected, nan_ok=True)


def test_the_contrastive_mask_leaves_out_denoised_passages_wherever_they_stand():
    groups = [["p1", "a", "b"], ["p2", "c", "a"]]
    who = candidates(groups, [{"p1"}, {"p2"}], [{"a", "p2"}, {"b"}])
    assert who.allowed.int().tolist() == [[1, 1, 1, 1, 1, 0], [1, 0, 1, 1, 1, 1]]
    assert who.contrastive.int().tolist() == [[1, 0, 1, 0, 1, 0], [1, 0, 0, 1, 1, 1]]
    assert who.own.int().tolist() == [[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]
    assert candidates(groups, [{"p1"}, {"p2"}]).denoised is None


def test_what_cannot_be_drawn_is_refused_in_one_line():
    with pytest.raises(TrainingError, match=r"list_passages=9, and no list has more than 2 negatives"):
        StepBatches([Example("q", ("p",), ("a", "b"))], steps=1, questions=1, negatives=2, seed=0, listed=9)
    everything = [Example("q", ("p",), ("a", "b"), kept=(False, False))]
    with pytest.raises(
        TrainingError, match=r"step 1: question 'q' has no negative for the contrastive terms"
    ):
        StepBatches(everything, steps=1, questions=1, negatives=1, seed=0)
    assert StepBatches(everything, steps=1, questions=1, negatives=1, seed=0, contrastive=False)[0].groups
    odd = [Example("q", ("p",), ("a", "b"), kept=(True,))]
    with pytest.raises(TrainingError, match=r"2 negatives and 1 flags"):
        StepBatches(odd, steps=1, questions=1, negatives=1, seed=0)


def read(model: JointEncoder, text: str, task: Any) -> tuple[Tensor, Tensor]:
    ids = model.tokenizer([text], truncation=True, max_length=model.length_of(task), return_tensors="pt")
    output = model.read({"input_ids": ids.input_ids, "attention_mask": ids.attention_mask})
    tokens, mask = output.late()
    return output.cls[0], tokens[0][mask[0]]


def spelled_out(
    model: JointEncoder, data: TrainingData, chosen: TrainSettings, batch: Any
) -> dict[str, Tensor]:
    """Each question's whole list, text by text: cached passages in fp16 and without a gradient."""
    sums: dict[str, list[Tensor]] = {"cascade": [], "direct": [], "margin": [], "interaction": []}
    rows = zip(batch.questions, batch.groups, batch.scores, batch.listed, batch.listed_scores, strict=True)
    for question, group, scores, listed, listed_scores in rows:
        asked = read(model, question, "query")
        answers = [read(model, data.passages[passage], "passage") for passage in group]
        for passage in listed:
            single, tokens = read(model, data.passages[passage], "passage")
            answers.append((single.detach().half().float(), tokens.detach().half().float()))
        dense = torch.stack([asked[0] @ answer[0] for answer in answers])
        late = torch.stack([(asked[1] @ a[1].T).max(dim=1).values.mean() for a in answers])
        logits = torch.tensor([*scores, *listed_scores])
        known = logits.isfinite()
        teacher = torch.softmax(logits[known] / chosen.cross_temperature, 0)
        for name, student, temperature in (
            ("cascade", late, chosen.cascade_temperature),
            ("direct", dense, chosen.direct_temperature),
        ):
            log_p = torch.log_softmax(student[known] / temperature, 0)
            sums[name].append((teacher * (teacher.log() - log_p)).sum())
        for place in range(1, len(logits)):
            if known[place]:
                margin = (dense[0] - dense[place]) * chosen.margin_scale
                sums["margin"].append((margin - (logits[0] - logits[place])) ** 2)
        taught = torch.softmax(late.detach() / chosen.teacher_temperature, 0)
        student = torch.log_softmax(dense / chosen.student_temperature, 0)
        sums["interaction"].append((taught * (taught.log() - student)).sum())
    return {name: torch.stack(values).mean() * chosen.weight(name) for name, values in sums.items()}


def filled(model: JointEncoder, data: TrainingData, chosen: TrainSettings, batches: StepBatches) -> ListCache:
    cache = ListCache(model, batches, data.passages, tokens=chosen.reads_listed_tokens, bf16=False)
    cache.fill(0)
    return cache


def gradients(model: JointEncoder, loss: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("gradient_cache", [False, True])
def test_loss_and_gradients_over_the_whole_list_equal_their_definition(model, data, gradient_cache):
    chosen = settings(**WIDE, dense_weight=0.0, late_weight=0.0, gradient_cache=gradient_cache)
    batches = batches_of(data, chosen)
    loss = JointLoss(model, chosen, lists=filled(model, data, chosen, batches))
    parts = loss(Collator(model, data.passages, 100)([batches[0]]))
    oracle = spelled_out(model, data, chosen, batches[0])
    assert set(parts) == {f"loss_{name}" for name in oracle}
    for name, value in oracle.items():
        torch.testing.assert_close(parts[f"loss_{name}"], value, rtol=1e-4, atol=1e-5)
    found = gradients(model, torch.stack(list(parts.values())).sum())
    expected = gradients(model, torch.stack(list(oracle.values())).sum())
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_the_question_gets_a_gradient_from_list_passages_and_they_get_none(model, data):
    """With the group's own scores taken away, only the question's side is left to learn."""
    chosen = settings(**WIDE)
    batches = batches_of(data, chosen)
    cache = filled(model, data, chosen, batches)
    cached = cache.read(0, batches[0].listed, 3)
    asked = model.read(Collator(model, data.passages, 10_000)([batches[0]])["questions"][0])
    scores = cached.late(*asked.late()).sum() + cached.dense(asked.cls).sum()
    found = gradients(model, scores)
    assert found["0.token_head.linear.weight"].abs().sum() > 0
    assert not cached.cls.requires_grad
    assert cached.tokens is not None
    assert not cached.tokens.requires_grad


def test_the_cache_holds_the_passages_of_the_steps_until_the_next_refresh_and_no_more(model, data):
    chosen = settings(**WIDE, steps=10, checkpoints=2, refresh_steps=3)
    batches = batches_of(data, chosen, 10)
    cache = list_cache(model, batches, data, chosen, World())
    assert cache.points == [0, 3, 5, 6, 9]
    bound = 3 * 6 * 3
    model.train()
    for step, stop in ((0, 3), (3, 5), (5, 6), (9, 10)):
        cache.fill(step)
        assert cache.steps == range(step, stop)
        shown = {p for number in cache.steps for listed in batches[number].listed for p in listed}
        assert len(cache) == len(shown) <= bound
        words = [len(read(model.eval(), data.passages[passage], "passage")[1]) for passage in shown]
        assert cache.size == 2 * (model.get_embedding_dimension() * len(shown) + 16 * sum(words))
    with pytest.raises(TrainingError, match="step 1 reads list passages that were cached for steps 10 to 10"):
        cache.read(0, batches[0].listed, 3)
    dense = list_cache(
        model,
        batches,
        data,
        chosen.model_copy(update={"cascade_weight": 0.0, "interaction_weight": 0.0}),
        World(),
    )
    dense.fill(0)
    assert dense.size == 2 * model.get_embedding_dimension() * len(dense)
    assert dense.read(0, batches[0].listed, 3).tokens is None
    never = list_cache(model, batches, data, chosen.model_copy(update={"refresh_steps": 0}), World())
    assert never.points == [0]


def test_encoding_the_lists_draws_no_random_number_and_leaves_the_model_as_it_was(model, data):
    chosen = settings(**WIDE)
    batches = batches_of(data, chosen)
    model.train()
    before = torch.get_rng_state()
    filled(model, data, chosen, batches)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training


def test_the_lead_is_judged_over_the_list_without_denoised_passages(model, data):
    chosen = settings(**WIDE | {"follow_lead": True})
    batches = batches_of(data, chosen)
    loss = JointLoss(model, chosen, lists=filled(model, data, chosen, batches))
    features = Collator(model, data.passages, 100)([batches[0]])
    expected = [
        [passage in denoised for passage in listed]
        for listed, denoised in zip(batches[0].listed, batches[0].denoised, strict=True)
    ]
    assert features["listed_denoised"].tolist() == expected
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.train()  # while a model is evaluated, no weight follows a lead
    parts = loss(features)
    model.eval()
    assert parts["loss_cascade"].item() == 0  # no lead is known yet
    leads = []
    batch = batches[0]
    rows = zip(batch.questions, batch.groups, batch.scores, batch.listed, batch.listed_scores, strict=True)
    for row, (question, group, scores, listed, listed_scores) in enumerate(rows):
        asked = read(model, question, "query")[1]
        ahead, behind, best = 0, 0, None
        for passage, logit in zip([*group, *listed], [*scores, *listed_scores], strict=True):
            answer = read(model, data.passages[passage], "passage")[1]
            late = (asked @ answer.T).max(dim=1).values.mean().item()
            best = best or (late, logit)
            if passage not in batch.denoised[row] and math.isfinite(logit):
                ahead += best[1] > logit and best[0] <= late and passage != group[0]
                behind += best[1] <= logit and best[0] > late
        leads += [(ahead - behind) / (ahead + behind)] if ahead + behind else []
    total, count, _ = loss.parts.lead.sums("cascade").tolist()
    assert count == len(leads) > 0
    assert total == pytest.approx(sum(leads), abs=1e-5)


class StopError(Exception):
    pass


@pytest.mark.parametrize("refresh_steps", [3, 0])
def test_a_training_with_a_cache_resumes_bit_for_bit(base, lists, tmp_path: Path, refresh_steps: int):
    refreshed: list[int] = []

    def stop(event: str, values: dict[str, Any]) -> None:
        if event == "checkpoint" and values["step"] == 2:
            raise StopError

    def watch(event: str, values: dict[str, Any]) -> None:
        refreshed.extend([values["step"]] if event == "listed" else [])

    chosen = settings(**WIDE, steps=4, checkpoints=2, evaluations=0, refresh_steps=refresh_steps)
    whole = train(collection(), tmp_path / "whole", chosen, base=base, lists=lists, observer=watch)
    assert refreshed == ([0, 2, 3] if refresh_steps else [0])
    with pytest.raises(StopError):
        train(collection(), tmp_path / "cut", chosen, base=base, lists=lists, observer=stop)
    refreshed.clear()
    cut = train(collection(), tmp_path / "cut", chosen, base=base, lists=lists, observer=watch)
    assert refreshed == ([2, 3] if refresh_steps else [0])
    assert weights(whole.last) == weights(cut.last)


def test_negatives_of_bm25_make_lists_within_the_window(base):
    chosen = settings(list_passages=16, distillation_candidates="list", negative_last=12, evaluations=0)
    found = prepare(collection(), chosen)
    assert {len(one.negatives) for one in found.examples} == {12}
    assert {len(one.negatives) for one in prepare(collection(), settings(evaluations=0)).examples} == {8}


def test_the_still_teacher_is_read_without_dropout(model, data):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.3
    chosen = settings(**WIDE, still_teacher=True)
    batches = batches_of(data, chosen)
    features = Collator(model, data.passages, 100)([batches[0]])
    entropy = {}
    for training in (False, True):
        for still in (False, True):
            loss = JointLoss(
                model,
                chosen.model_copy(update={"still_teacher": still}),
                lists=filled(model, data, chosen, batches),
            )
            model.train(training)
            torch.manual_seed(3)
            parts = loss(features)
            assert model.training == training
            entropy[training, still] = loss.take_raw()["teacher_entropy"]
            assert parts["loss_interaction"].requires_grad
    assert entropy[True, True] == pytest.approx(entropy[False, True], abs=1e-4)
    assert entropy[False, False] == pytest.approx(entropy[False, True], abs=1e-4)
    assert abs(entropy[True, False] - entropy[True, True]) > 1e-3


def test_hidden_dropout_is_that_of_all_layers_but_attentions(model):
    make_ready(model, settings(hidden_dropout=0.25, attention_dropout=0.05))
    rates = {name: one.p for name, one in model.backbone.named_modules() if isinstance(one, nn.Dropout)}
    assert {rate for name, rate in rates.items() if ".self." in name} == {0.05}
    assert {rate for name, rate in rates.items() if ".self." not in name} == {0.25}
    make_ready(model, settings())
    assert {one.p for one in model.backbone.modules() if isinstance(one, nn.Dropout)} == {0.0, 0.25}
    with pytest.raises(SettingsError, match=r"dual_weight is 1, .* or hidden_dropout above 0"):
        make_ready(model, settings(hidden_dropout=0.0, dual_weight=1.0))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"distillation_candidates": "list"}, "distillation_candidates=list with list_passages=0"),
        (
            {"distillation_candidates": "list", "list_passages": 4, "interaction_teacher": "frozen"},
            "are cached",
        ),
        ({"still_teacher": True, "interaction_teacher": "ensemble"}, "interaction_teacher=ensemble"),
        ({"still_teacher": True, "detach_teacher": False}, "gets no gradient"),
        ({"interaction_weight": 0.0, "dense_weight": 0.0, "late_weight": 0.0}, "no ranking is learned"),
        (
            {"dense_weight": 0.0, "late_weight": 0.0, "interaction_weight": 0.0, "attention_weight": 1.0},
            "no ranking is learned",
        ),
        ({"cascade_weight": 1.0, "negatives": 0}, "set negatives or list_passages to 1 or more"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(changes, words):
    with pytest.raises(SettingsError, match=words):
        settings(**changes).check()


@pytest.mark.parametrize("term", ["interaction", "cascade", "direct", "margin"])
def test_one_distilling_term_is_enough_for_a_training(term):
    none = dict.fromkeys(("dense_weight", "late_weight", "interaction_weight"), 0.0)
    chosen = settings(**none | {f"{term}_weight": 1.0}).check()
    assert chosen.trains_dense == (term != "cascade")
    assert not chosen.contrastive


def test_list_passages_that_no_term_reads_are_not_shown():
    assert settings(list_passages=8).listed == 0
    assert settings(list_passages=8, direct_weight=1.0).listed == 8
    assert not settings(list_passages=8, direct_weight=1.0).reads_listed_tokens
