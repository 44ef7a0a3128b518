"""Each way to train shared weights behind one function, and the weights of a finished training read back.

A table (search.supernet.METHODS) names the functions, so that only the code of the method in use is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from core.progress import Reporter
from core.registry import load
from core.tracking import Tracker
from search.arch import ArchSpec
from search.dataset import ImageData
from search.latency.table import LatencyTable
from search.space import Genotype, SearchSpace
from search.supernet import METHODS
from search.supernet.layout import layout_of
from search.supernet.phases import phases
from search.supernet.places import places_of
from search.supernet.settings import MIXED_METHODS, SupernetConfig
from search.supernet.shared import SharedWeights

CHECKPOINT = "supernet.npz"  # in the scratch folder
WEIGHTS = "weights.npz"  # in the folder of a finished training


@dataclass(frozen=True)
class Request:
    """What is to be trained.

    Attributes:
      scratch: a folder for checkpoints; the same request with the same folder goes on there.
      latency: of the space's operators, for a method that weighs the expected latency.
      tracker: of the training's curves.
    """

    config: SupernetConfig
    space: SearchSpace
    data: ImageData
    seed: int
    scratch: Path
    reporter: Reporter
    latency: LatencyTable | None = None
    tracker: Tracker = field(default_factory=Tracker)


@dataclass(frozen=True)
class Trained:
    """Shared weights after their training.

    Attributes:
      suggestions: genotypes that the training itself prefers, best first.
      is_found: whether the training has chosen its network, suggestions[0], so that nothing is left to search.
      facts: figures of the training in words, by name.
    """

    shared: SharedWeights
    suggestions: tuple[Genotype, ...] = ()
    is_found: bool = False
    facts: dict[str, str] = field(default_factory=dict)


class Training(Protocol):
    """What METHODS names. Exactly resumable: killed at any moment and called again it ends with the same weights."""

    def __call__(self, request: Request) -> Trained:
        """Trains. Raises UsageError for a space that the method cannot share, CandidateError if it diverges."""


def train(request: Request) -> Trained:
    """Trains by `config.method`, or goes on where `scratch` stands."""
    training: Training = load(METHODS, request.config.method, "config.supernet.method")
    return training(request)


def load_shared(config: SupernetConfig, space: SearchSpace, folder: Path, seed: int) -> SharedWeights:
    """The weights that were saved as WEIGHTS in `folder`. Raises UsageError if they are of another space."""
    shared = _new(config, space, seed)
    shared.load(folder / WEIGHTS)
    return shared


def check_space(config: SupernetConfig, space: SearchSpace) -> None:
    """Raises UsageError if the networks of the space cannot share weights by `config.method`, or not in so few epochs.

    No TensorFlow.
    """
    if config.method in MIXED_METHODS:
        places_of(space)
    else:
        layout_of(space)
        phases(config, space)


def bounds(config: SupernetConfig, space: SearchSpace) -> dict[str, ArchSpec]:
    """The "largest" and the "smallest" network of an elastic supernet; none of a mixture of operators."""
    if config.method in MIXED_METHODS:
        return {}
    layout = layout_of(space)
    return {"largest": layout.largest, "smallest": layout.smallest}


def elastic(request: Request) -> Trained:
    """Once-for-All's progressive shrinking, the sandwich rule, or single-path uniform sampling."""
    from search.supernet.network import ElasticNetwork
    from search.supernet.train import train_elastic

    network = ElasticNetwork(request.space, request.seed)
    train_elastic(network, request.data, request.config, **_options(request))
    return Trained(network)


def enas(request: Request) -> Trained:
    """ENAS: the weights and a policy that draws from them in turns; the search begins with what the policy prefers."""
    from search.supernet.enas import train_enas
    from search.supernet.network import ElasticNetwork

    network = ElasticNetwork(request.space, request.seed)
    found = train_enas(network, request.data, request.config, **_options(request))
    facts = {
        "mean reward of the policy after the last epoch": f"{100 * found.rewards[-1]:.2f} %",
        "entropy of the policy": f"{found.entropy:.2f} nats",
    }
    return Trained(network, found.suggestions, facts=facts)


def darts(request: Request) -> Trained:
    """DARTS: the likeliest candidate of each place is the network."""
    from search.supernet.darts import train_darts

    return _mixed(request, train_darts)


def proxyless(request: Request) -> Trained:
    """ProxylessNAS: likewise, with one path in memory; with a target the best of those that meet it."""
    from search.supernet.proxyless import train_proxyless

    return _mixed(request, train_proxyless)


def _mixed(request: Request, search: Callable[..., Any]) -> Trained:
    from search.supernet.mixed import MixedNetwork

    network = MixedNetwork(request.space, request.seed)
    found = search(network, request.data, request.config, table=request.latency, **_options(request))
    facts = {
        "validation accuracy of the mixture": f"{100 * found.mixture_accuracy:.2f} %",
        "of the network found, with the same weights": f"{100 * found.accuracy:.2f} %",
        "gap of the discretization": f"{100 * found.gap:.2f} points",
    }
    if found.expected_latency_us is not None:
        facts["expected latency"] = f"{found.expected_latency_us:.1f} us"
        facts["latency of the network found"] = f"{found.latency_us:.1f} us"
    return Trained(network, (found.genotype,), is_found=True, facts=facts)


def _options(request: Request) -> dict[str, Any]:
    """What all trainings take by name."""
    checkpoint = request.scratch / CHECKPOINT
    return {
        "seed": request.seed,
        "checkpoint": checkpoint,
        "reporter": request.reporter,
        "tracker": request.tracker,
    }


def _new(config: SupernetConfig, space: SearchSpace, seed: int) -> SharedWeights:
    if config.method in MIXED_METHODS:
        from search.supernet.mixed import MixedNetwork

        return MixedNetwork(space, seed)
    from search.supernet.network import ElasticNetwork

    return ElasticNetwork(space, seed)
