"""Train both readings of a SentenceTransformer with its own trainer, and save the model.

    python examples/train_with_sentence_transformers.py --output runs/joint

Any Dataset with columns anchor, positive and negatives will do; a column of a cross-encoder's scores adds the
cascade. What is saved opens as a SentenceTransformer, and is a joint model to this package.
"""

import argparse
from collections.abc import Sequence

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)

from ernie_search.losses import ErnieSearchLoss
from ernie_search.model import adopt, bundled_base, fit_start

ROWS = {
    "anchor": ["Where does tea come from?", "Which crop stands in water?", "What cannot stand the cold?"],
    "positive": [
        "Assam grows half of India's tea.",
        "Rice grows in flooded fields.",
        "Olives bear little frost.",
    ],
    "negative": ["Tea is drunk hot.", "Water boils at 100 degrees.", "Mint spreads by runners."],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the three rows above and save the model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, help="directory of the model")
    parser.add_argument("--model", help="the base: a hub name or a directory; default: the bundled one")
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args(arguments)

    model = SentenceTransformer(given.model or str(bundled_base()))
    fit_start(adopt(model), [*ROWS["positive"], *ROWS["negative"]])  # the head begins at the raw states
    loss = ErnieSearchLoss(model)  # trains it with the model, which saves it
    trainer = SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(
            output_dir=f"{given.output}-checkpoints",
            max_steps=given.steps,
            learning_rate=5e-5,
            learning_rate_mapping={"token_head": 1e-3},
            report_to="none",
            dataloader_pin_memory=False,  # only a GPU gains by it
        ),
        train_dataset=Dataset.from_dict(ROWS),
        loss=loss,
        callbacks=[loss.callback],
    )
    trainer.train()
    model.save_pretrained(given.output)


if __name__ == "__main__":
    main()
