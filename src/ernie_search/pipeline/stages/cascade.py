"""The stage ``cascade``: the joint model trained on lists, with a teacher's scores where terms need them."""

from ernie_search.errors import SettingsError
from ernie_search.pipeline.stage import Available, GivenLists, Inputs
from ernie_search.pipeline.stages.warm_up import Training


class Cascade(Training):
    """Training of the joint model on mined lists, with a cross-encoder as teacher where terms need one."""

    kind = "cascade"

    @property
    def what(self) -> str:
        return f"train the joint model on the {'scored' if self.settings.cross_terms else 'mined'} lists"

    def reads(self, before: Available) -> Inputs:
        """The inputs: lists, the model of an earlier training, and the teacher whose attention teaches."""
        self.without_frozen_teacher(before)
        settings = self.settings
        lists = self.needs_lists(before, "trains on mined lists")
        if settings.cross_terms and not before.scored:
            if isinstance(lists, GivenLists):
                unscored = f"in {lists.folder} have no scores; score them first (ernie-search score)"
            else:
                unscored = f"of {lists!r} have no scores; put a score before it"
            term = f"{settings.cross_terms[0]}_weight"
            raise SettingsError(
                f"stage {self.name!r} has {term} above 0, and the lists {unscored}, or set the weight to 0"
            )
        if settings.negatives > before.fewest:
            raise SettingsError(
                f"stage {self.name!r} has negatives={settings.negatives}, and {before.shortage}"
            )
        teacher = None
        if settings.attention_weight > 0:
            teacher = self.needs(
                before.teacher,
                "has attention_weight above 0, and no stage before it makes a teacher; "
                "put a teacher before it, or set the weight to 0",
            )
        return Inputs(model=before.model, lists=lists, teacher=teacher)
