"""Score settings of a joint encoder, saved with the weights, so that search scores as training did."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ernie_search._util.files import read_json, write_json
from ernie_search.errors import ModelError, StorageError

SETTINGS_FILE = "ernie_search.json"


class ScoreSettings(BaseModel):
    """The joint encoder's own settings.

    Attributes:
        token_dim: width of a token vector, ``d``.
        similarity: what the single vectors are compared by.
        query_length, passage_length: tokens kept of a text, special tokens included.
        query_prompt, passage_prompt: put before every text.
        dense_temperature, late_temperature: the contrastive temperatures of training.
        base: what the model was made from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    token_dim: int = Field(128, ge=1)
    similarity: Literal["cosine", "dot"] = "cosine"
    query_length: int = Field(64, ge=4)
    passage_length: int = Field(256, ge=8)
    query_prompt: str = ""
    passage_prompt: str = ""
    dense_temperature: float = Field(0.05, gt=0)
    late_temperature: float = Field(0.03, gt=0)
    base: str = ""

    def write(self, folder: Path) -> None:
        """Write ``ernie_search.json`` into a model directory."""
        write_json(folder / SETTINGS_FILE, self.model_dump())

    @classmethod
    def read(cls, folder: Path) -> "ScoreSettings":
        """Read ``ernie_search.json``; ModelError names the file and the first thing that is wrong."""
        try:
            return cls.model_validate(read_json(folder / SETTINGS_FILE))
        except (StorageError, OSError) as error:
            # Not its advice to delete the file: without it there is no joint model.
            what = str(error).partition(";")[0]
            raise ModelError(f"{what}; save the model again, or mend the file") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(
                f"{folder / SETTINGS_FILE}: {where}: {first['msg']}; save the model again, or mend the file"
            ) from error
