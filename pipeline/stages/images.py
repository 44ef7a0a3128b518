"""Stage "images": the data set in the resolution of a winner, where the resolution was searched."""

from __future__ import annotations

from pipeline.images import write_resized
from pipeline.runner import Outcome, StageContext
from pipeline.stages.models import winner
from search.grammar import from_text


def run(context: StageContext) -> Outcome:
    """Fills the stage's folder as the data stage's is. Raises CandidateError if the search found too few networks."""
    trial = winner(context.input("search"), context.params["winner"])
    side = from_text(trial.arch).resolution
    write_resized(context.input("data"), side, context.out, context.reporter)
    return Outcome(f"images of {side}x{side}")
