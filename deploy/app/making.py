"""How a model was made, in sentences: its training, the passes of its recipe, its arithmetic. No TensorFlow here."""

from __future__ import annotations

import re
from collections.abc import Iterator

from compress.recipe import ALIASES
from deploy.app.facts import ReleaseFacts
from deploy.manifest import ReleaseModel
from deploy.schemes import (
    DYNAMIC_RANGE,
    FLOAT16,
    FLOAT32,
    FULL_INTEGER,
    INT4_WEIGHTS,
    INT8_WEIGHTS,
    MIXED,
    PERSONALIZE,
)

SCHEMES = {
    FLOAT32: "float32 throughout",
    FLOAT16: "weights in float16, computes in float32",
    DYNAMIC_RANGE: "weights in int8, activations quantized while it computes",
    INT8_WEIGHTS: "weights in int8, computes in float32",
    INT4_WEIGHTS: "weights in int4, computes in float32",
    FULL_INTEGER: "int8 throughout, uint8 input and output",
    MIXED: "int8, but for the layers that need float32 to hold the accuracy; uint8 input and output",
    PERSONALIZE: "weights in int8, computes in float32; its last layer can be trained further on the device",
}
_PASSES = {
    "structured": "Structured pruning: whole channels were removed until about {} of the network's cost was left",
    "low_rank": "Low-rank factorization (setting {}): wide layers were cut into two cheaper ones",
    "share": "Sharing: equal blocks use one set of weights",
    "prune": "Pruning: the weights that matter least were set to zero, {}, with fine-tuning",
    "sparse": "Pruning for XNNPACK's sparse kernels: weights were set to zero, {}, with fine-tuning",
    "cluster": "Clustering: the weights of a layer share {} values, with fine-tuning",
    "qat": "Quantization-aware training: fine-tuning with the rounding of int8 in place",
}
_LABEL = re.compile(r"([a-z_]+?)([0-9].*)?")


def making(model: ReleaseModel, steps: tuple[str, ...], facts: ReleaseFacts) -> Iterator[str]:
    """The steps in their order, one sentence each.

    Args:
      steps: labels of passes, such as "prune0.5" (compress.settings.PassSpec.label).
    """
    taught = f", distilled from {facts.teacher}" if facts.teacher else ""
    yield f"Training in float32 on `{facts.data}`{taught}"
    for step in steps:
        yield _in_words(step)
    words = [word for part in model.recipe.split("+") for word in ALIASES.get(part, (part,))]
    if "ptq" in words:
        yield "Post-training quantization: ranges of the activations taken from training images"
    recipe = f" (recipe `{model.recipe}`)" if model.recipe else ""
    clusters = f", at most {model.clusters} values in each clustered layer" if model.clusters else ""
    yield f"Conversion to LiteRT{recipe}: {SCHEMES[model.scheme]}; {100 * model.sparsity:.0f} % zeros{clusters}"


def _in_words(step: str) -> str:
    match = _LABEL.fullmatch(step)
    word, number = (match[1], match[2] or "") if match else (step, "")
    if word not in _PASSES:
        return f"The pass `{step}`"
    if word in ("prune", "sparse"):
        zeros, of, group = number.partition("of")
        number = f"{zeros} of every {group}" if of else f"{100 * float(number):g} % of a layer's"
    return _PASSES[word].format(number)
