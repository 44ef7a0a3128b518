"""Low-rank factorization of dense layers and convolutions: fewer weights and MACs, approximately the same network.

Dense layers and 1x1 convolutions by truncated SVD; spatial convolutions by Tucker-2 (Kim et al. 2016,
arXiv:1511.06530) or spatial SVD (Jaderberg et al. 2014, arXiv:1405.3866), whichever is smaller at the same energy.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.keras_env import keras

import numpy as np

from compress.invariants import kernel_variable
from compress.low_rank.choose import by_energy, by_params
from compress.low_rank.decompose import Float32, energy_kept, spatial_svd, svd, tucker2
from compress.low_rank.options import Choice, Options, options_of, whole_of
from compress.rewrite import config_of, model_of, replace_by_chain
from compress.settings import LowRankSettings
from compress.storage import named_weights
from core.errors import CandidateError


@dataclass(frozen=True, slots=True)
class LayerReport:
    """What became of a dense layer or convolution.

    Attributes:
      layer: its name.
      factors: the names of the layers in its place, () if it was left as it is (see `factor_names`).
      shape: of its kernel, as Keras has it.
      form, ranks: see compress.low_rank.options.Choice; "" and () if the layer was left as it is.
      params_before, params_after: weights of the kernel and of its factors; the bias is left out of both.
      macs_before, macs_after: of one image.
      energy: share 0..1 of the kernel's sum of squares that the factors keep.
      reason: why it was left as it is, else "".
    """

    layer: str
    factors: tuple[str, ...]
    shape: tuple[int, ...]
    form: str
    ranks: tuple[int, ...]
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    energy: float
    reason: str


def factorize(
    model: keras.Model, settings: LowRankSettings, excluded: Collection[str] = ()
) -> tuple[keras.Model, tuple[LayerReport, ...]]:
    """A new model whose layers are cut where that pays, in fewer weights and fewer MACs, and a report on each layer.

    Of a layer's factors (`factor_names`) the last has its bias and activation. All other layers keep name and weights,
    `excluded` ones among them: those that `settings.exclude` means. With `by` "energy" each layer keeps that share of
    its energy; with "params" the network's parameters fall to that fraction. Raises CandidateError if no layer's rank
    pays, or if the least ranks leave too many.
    """
    layers = {
        layer.name: layer for layer in model.layers if isinstance(layer, (keras.layers.Dense, keras.layers.Conv2D))
    }
    refused = {name: reason for name, layer in layers.items() if (reason := _refusal(layer, excluded))}
    options = {name: _options(layer) for name, layer in layers.items() if name not in refused}
    if settings.by == "params":
        total = model.count_params()
        chosen = by_params(options, total, settings.number * total)
    else:
        chosen = by_energy(options, settings.number)
    if not chosen:
        raise CandidateError(
            f"low_rank: no rank pays that keeps {settings.number:g} of a layer's energy{_hint(options)}"
        )
    factors = {name: factors_of(_kernel(layers[name]), choice) for name, choice in chosen.items()}
    names = factor_names(model, factors)
    reports = tuple(
        _report(layer, names[name], chosen[name], factors[name])
        if name in chosen
        else _whole_report(layer, refused.get(name) or _no_rank(options[name], settings))
        for name, layer in layers.items()
    )
    return with_factors(model, factors), reports


def factors_of(kernel: Float32, choice: Choice) -> tuple[Float32, ...]:
    """The kernels of the layers that stand for one, in their order; of the last axes [in, rank], ..., [rank, out]."""
    if choice.form == "spatial":
        return spatial_svd(kernel, *choice.ranks)
    if choice.form == "tucker":
        parts = tucker2(kernel, *choice.ranks)
        return _absorbed(parts, kernel.shape[2] == choice.ranks[0], kernel.shape[3] == choice.ranks[1])
    first, last = svd(kernel.reshape(kernel.shape[-2:]), *choice.ranks)
    return first.reshape(*kernel.shape[:-1], -1), last.reshape(*kernel.shape[:-2], *last.shape)


def with_factors(model: keras.Model, factors: Mapping[str, Sequence[Float32]]) -> keras.Model:
    """A new model in which the named layers are replaced by layers with these kernels, in this order."""
    config, weights = config_of(model), named_weights(model)
    names = factor_names(model, factors)
    for name, kernels in factors.items():
        chain = _chain(model.get_layer(name), names[name], kernels)
        replace_by_chain(config, name, chain)
        weights.pop(f"{name}/kernel")
        weights |= {f"{layer.name}/kernel": kernel for layer, kernel in zip(chain, kernels, strict=True)}
        if (bias := weights.pop(f"{name}/bias", None)) is not None:
            weights[f"{chain[-1].name}/bias"] = bias
    return model_of(config, weights)


def factor_names(model: keras.Model, factors: Mapping[str, Sequence[Float32]]) -> dict[str, tuple[str, ...]]:
    """The names of the layers in the place of each NAME: NAME_u, [NAME_core,] NAME_v.

    Where the network has such a layer already, NAME_1_u and so on.
    """
    taken = {layer.name for layer in model.layers}
    found = {}
    for name, kernels in factors.items():
        ends = ("u", "v") if len(kernels) == 2 else ("u", "core", "v")
        beginnings = itertools.chain((name,), (f"{name}_{number}" for number in itertools.count(1)))
        candidates = (tuple(f"{beginning}_{end}" for end in ends) for beginning in beginnings)
        found[name] = next(names for names in candidates if taken.isdisjoint(names))
        taken.update(found[name])
    return found


def _refusal(layer: keras.layers.Layer, excluded: Collection[str]) -> str:
    if layer.name in excluded:
        return "excluded"
    if type(layer) not in (keras.layers.Dense, keras.layers.Conv2D):
        return f"{type(layer).__name__} has no low-rank form"
    if getattr(layer, "groups", 1) > 1:
        return f"a convolution of {layer.groups} groups"
    return "" if np.any(_kernel(layer)) else "all weights are zero"


def _hint(options: Mapping[str, Options]) -> str:
    """The most that could be asked for."""
    most = max((float(rows.energy.max()) for rows in options.values() if len(rows)), default=0.0)
    return f"; the most is {most:.3f}" if most else ", nor any rank at all"


def _no_rank(options: Options, settings: LowRankSettings) -> str:
    if not len(options):
        return "no rank has fewer weights and fewer MACs"
    if settings.by == "params":
        return "not needed, or worth its weights"
    return f"no rank that pays keeps {settings.number:g} of the energy (at most {options.energy.max():.3f})"


def _kernel(layer: keras.layers.Layer) -> Float32:
    kernel: Float32 = kernel_variable(layer).numpy()
    return kernel


def _options(layer: keras.layers.Layer) -> Options:
    return options_of(layer, _kernel(layer))


def _absorbed(parts: tuple[Float32, Float32, Float32], whole_inputs: bool, whole_outputs: bool) -> tuple[Float32, ...]:
    """Tucker-2's factors without a 1x1 convolution on a side whose rank is not lowered: that is only a rotation."""
    first, core, last = parts
    if whole_inputs and not whole_outputs:
        return np.einsum("ir,hwrs->hwis", first[0, 0], core), last
    if whole_outputs and not whole_inputs:
        return first, np.einsum("hwrs,so->hwro", core, last[0, 0])
    return parts


def _chain(layer: keras.layers.Layer, names: Sequence[str], kernels: Sequence[Float32]) -> list[keras.layers.Layer]:
    """New layers for a layer's kernels: the first ones linear and without bias, the last with what the layer had."""
    # A regularizer or a constraint speaks of the whole kernel, not of its factors.
    config = layer.get_config() | {"kernel_regularizer": None, "kernel_constraint": None}
    linear = {"use_bias": False, "activation": "linear", "activity_regularizer": None}
    chain = []
    for name, kernel in zip(names, kernels, strict=True):
        own = {"name": name} | ({} if kernel is kernels[-1] else linear) | _geometry(layer, kernel, kernels)
        chain.append(type(layer).from_config(config | own))
    return chain


def _geometry(layer: keras.layers.Layer, kernel: Float32, kernels: Sequence[Float32]) -> dict[str, Any]:
    """The shape of a factor. Strides and dilation go where the layer's kernel is wide, in one factor or in two."""
    if kernel.ndim == 2:
        return {"units": kernel.shape[1]}
    sides = {"kernel_size": kernel.shape[:2], "filters": kernel.shape[3]}
    whole = [factor for factor in kernels if factor.shape[:2] == tuple(layer.kernel_size)]
    bearers = (whole[0], whole[0]) if whole else (kernels[0], kernels[-1])
    for field, values in (("strides", layer.strides), ("dilation_rate", layer.dilation_rate)):
        sides[field] = tuple(value if kernel is bearer else 1 for value, bearer in zip(values, bearers, strict=True))
    return sides


def _report(
    layer: keras.layers.Layer,
    names: tuple[str, ...],
    after: Choice,
    factors: tuple[Float32, ...],
    reason: str = "",
) -> LayerReport:
    kernel = _kernel(layer)
    whole = whole_of(layer, kernel)
    return LayerReport(
        layer=layer.name,
        factors=names,
        shape=tuple(kernel.shape),
        form=after.form,
        ranks=after.ranks,
        params_before=whole.params,
        params_after=after.params,
        macs_before=whole.macs,
        macs_after=after.macs,
        energy=energy_kept(kernel, factors) if factors else 1.0,
        reason=reason,
    )


def _whole_report(layer: keras.layers.Layer, reason: str) -> LayerReport:
    return _report(layer, (), whole_of(layer, _kernel(layer)), (), reason)
