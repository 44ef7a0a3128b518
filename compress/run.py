"""Applies one pass to one model: wrap, fine-tune, strip, check. A pure function of its arguments."""

from __future__ import annotations

import time
from dataclasses import dataclass

from core.keras_env import keras, reset

from compress.finetune import FineTune
from compress.invariants import Invariants, LayerState, check, observe
from compress.model_cost import ModelCost, model_cost
from compress.passes import PASSES
from compress.passes.contract import CompressPass, arch_after, predicted_by
from compress.settings import PassSpec
from compress.storage import copy_of
from core.registry import load
from search.dataset import ImageSet
from search.train import History, accuracy


@dataclass(frozen=True)
class PassResult:
    """A compressed model and what is known of it.

    Attributes:
      model: plain tf_keras, or after "quantize" the quantization-aware model that is converted.
      arch: the grammar's text of its network, "" if there is none.
      cost: of the plain network.
      invariants: everything this and all earlier passes promise.
      states: each kernel as found after the pass.
      val_accuracy: top-1, 0..1.
      predicted_us: the network's latency before and after, in microseconds, of a pass that a latency table guides.
    """

    model: keras.Model
    arch: str
    cost: ModelCost
    invariants: Invariants
    states: tuple[LayerState, ...]
    val_accuracy: float
    seconds: float
    history: History
    predicted_us: tuple[float, float] | None = None


def apply_pass(
    spec: PassSpec, model: keras.Model, earlier: Invariants, fine_tune: FineTune, val: ImageSet, arch: str = ""
) -> PassResult:
    """The model after one pass; the given model, whose text is `arch`, stays as it is.

    The result depends on the arguments alone (not on the process or on kills: `fine_tune.checkpoint` resumes exactly).
    Raises InvariantError naming layer and pass if the pass broke what must hold, CandidateError if training diverged.
    """
    started = time.monotonic()
    reset(fine_tune.seed)
    compress_pass: CompressPass = load(PASSES, spec.name, "pass")(spec.settings)
    wrapped = compress_pass.wrap(copy_of(model), earlier, fine_tune)
    history = fine_tune.run(wrapped, compress_pass.callbacks(), spec.name)
    result = copy_of(compress_pass.strip(wrapped))
    invariants = earlier.merged(compress_pass.promises())
    states = observe(result, invariants.patterns)
    check(states, invariants, spec.name)
    return PassResult(
        model=result,
        arch=arch_after(compress_pass, arch),
        cost=model_cost(model if spec.name == "quantize" else result),
        invariants=invariants,
        states=states,
        val_accuracy=accuracy(result, val),
        seconds=time.monotonic() - started,
        history=history,
        predicted_us=predicted_by(compress_pass),
    )
