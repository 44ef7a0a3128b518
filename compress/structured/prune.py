"""One round of structured pruning, from a trained network to a smaller one and what was taken from it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from core.keras_env import keras, tf

import numpy as np

from compress.finetune import FineTune
from compress.model_cost import ModelCost, model_cost
from compress.settings import StructuredSettings
from compress.structured.channels import Channels, channels_in
from compress.structured.choose import BlockCandidate, Candidate, Choice, choose
from compress.structured.graph import functional
from compress.structured.importance import Importance, importance_of
from compress.structured.latency import PER_US, latency_terms
from compress.structured.ours import equal_widths
from compress.structured.residual import ResidualBlock, residual_blocks
from compress.structured.sizes import Sizes, terms_of
from compress.structured.statistics import renew_statistics
from compress.structured.surgery import without
from compress.structured.units import Group, groups_of
from core.errors import CandidateError


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a round took.

    Attributes:
      before, after: the cost of the network.
      latency_us: (before, after), predicted by `settings.rates` in microseconds; None without them.
      widths: (layer, channels before, channels after) of each convolution and dense layer that is left and narrower,
        under its old name.
      blocks: the layers of each residual block that went.
      names: (old, new) of all layers that are left.
      gone: the layers that are not, the additions of the blocks among them.
    """

    before: ModelCost
    after: ModelCost
    widths: tuple[tuple[str, int, int], ...]
    blocks: tuple[tuple[str, ...], ...]
    names: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]
    latency_us: tuple[float, float] | None = None


def pruned(
    model: keras.Model, settings: StructuredSettings, fine_tune: FineTune, excluded: Collection[str] = ()
) -> tuple[keras.Model, Pruned]:
    """A smaller network that costs at most `settings.fraction` of `model`; the given one stays.

    Of what is left only the normalizations' statistics are new; it has yet to be trained.

    `excluded` are the layers that `settings.exclude` means. `fine_tune` gives the images, supervision and seed of the
    importances. Raises CandidateError if the fraction is out of reach, or if the rates of a latency table lack a kind
    of operators that the network has.
    """
    model = functional(model)
    channels = channels_in(model, excluded)
    blocks = residual_blocks(model, channels, excluded) if settings.blocks else ()
    importance = importance_of(settings.importance, model, channels, blocks, fine_tune)
    choice = _choice(model, channels, blocks, importance, settings)
    gone = tuple(blocks[index] for index in choice.blocks)
    smaller, names = without(model, channels, choice.classes, gone)
    renew_statistics(smaller, fine_tune.train)
    report = Pruned(
        before=model_cost(model),
        after=model_cost(smaller),
        widths=_widths(channels, choice, gone),
        blocks=tuple(block.layers for block in gone),
        names=tuple(names.items()),
        gone=tuple(layer.name for layer in model.layers if layer.name not in names),
        latency_us=_latencies(settings, model, smaller),
    )
    return smaller, report


def shapes_of(model: keras.Model) -> dict[str, tuple[int, int, int]]:
    """(height, width, channels) of each layer's first output, as search.layers has it: flat ones are 1 x 1."""
    shapes = {}
    for layer in model.layers:
        sides = tf.nest.flatten(layer.output)[0].shape[1:].as_list()
        if len(sides) in (1, 3):
            shapes[layer.name] = tuple([1, 1, *sides][-3:])
    return shapes


def _choice(
    model: keras.Model,
    channels: Channels,
    blocks: tuple[ResidualBlock, ...],
    importance: Importance,
    settings: StructuredSettings,
) -> Choice:
    equal = [[channels.layers[name].output for name in names] for names in equal_widths(channels.layers)]
    groups = groups_of(channels, importance.classes, equal)
    whole = [BlockCandidate(i, (*b.layers, b.add[0]), importance.blocks[i]) for i, b in enumerate(blocks)]
    sizes = _sizes(model, channels, settings)
    cost = sizes().cost()
    target = int(settings.fraction * cost)
    candidates = [Candidate(group, _weight(group, importance)) for group in groups]
    choice = choose(candidates, whole, sizes(), cost=cost, target=target, multiple=settings.channel_multiple)
    if choice is None:
        least = _least(candidates, whole, sizes(), settings.channel_multiple)
        raise CandidateError(
            f"structured pruning cannot leave {settings.fraction:.0%} of the {_amount(cost, settings)}: without all "
            f"that may go (in multiples of {settings.channel_multiple} channels) {1 - least / cost:.0%} are left"
        )
    return choice


def _sizes(model: keras.Model, channels: Channels, settings: StructuredSettings) -> Callable[[], Sizes]:
    """Makes the cost of the whole network, anew each time."""
    if settings.rates is None:
        return lambda: Sizes(terms_of(channels, settings.metric))
    terms = tuple(latency_terms(model, channels, settings.rates))
    return lambda: Sizes(terms)


def _amount(cost: int, settings: StructuredSettings) -> str:
    if settings.rates is None:
        return f"{cost:,} {settings.metric}"
    return f"{cost / PER_US:,.0f} us that a latency table of {settings.rates.data_type} networks predicts"


def _latencies(settings: StructuredSettings, before: keras.Model, after: keras.Model) -> tuple[float, float] | None:
    """The predicted latencies of two networks in microseconds; None without a latency table's rates."""
    if settings.rates is None:
        return None
    one, other = (Sizes(latency_terms(each, channels_in(each), settings.rates)) for each in (before, after))
    return one.cost() / PER_US, other.cost() / PER_US


def _weight(group: Group, importance: Importance) -> float:
    """What losing half of a group's importance does: relative figures count once in each layer."""
    return sum(group.importance) if importance.absolute else float(group.layers)


def _least(candidates: list[Candidate], blocks: list[BlockCandidate], sizes: Sizes, multiple: int) -> int:
    """How much goes if everything goes that may."""
    saved = 0
    for block in blocks:
        saved += sizes.saving_of_layers(block.layers)
        sizes.remove_layers(block.layers)
    for candidate in candidates:
        most = candidate.group.steps(multiple)[-1]
        classes = [item for unit in candidate.group.units[:most] for item in unit]
        saved += sizes.saving(classes)
        sizes.remove(classes)
    return saved


def _widths(channels: Channels, choice: Choice, blocks: tuple[ResidualBlock, ...]) -> tuple[tuple[str, int, int], ...]:
    kept = np.ones(channels.num_classes, np.bool_)
    kept[list(choice.classes)] = False
    gone = {name for block in blocks for name in block.layers}
    found = []
    for name in channels.producers:
        output = channels.layers[name].output
        left = int(np.count_nonzero(kept[output]))
        if name not in gone and left < len(output):
            found.append((name, len(output), left))
    return tuple(found)
