"""Parameter sharing across depth: blocks of a stage that have the same shapes become one block, used several times.

Cross-layer sharing as in ALBERT (Lan et al. 2020, arXiv:1909.11942): parameters fall, MACs stay. Two choices, measured
on a MobileNetV2-style network (106,122 -> 49,674 parameters, 8,000 images of Fashion-MNIST, two epochs of fine-tuning;
88.7 % as it was):

- The block begins with the weights of the group's first: 85.0 %. The mean of all (80.2 %) is nobody's function, for the
  hidden channels of two blocks have nothing to do with each other; the last block (79.3 %) expects another input.
- In training too its batch normalizations use their running statistics: 87.6 %. The batch's statistics differ from use
  to use, and one set of running statistics, which is all that the finished network has, fits none of them.
"""

from __future__ import annotations

from collections.abc import Callable

from core.keras_env import keras, tf

from compress.finetune import FineTune
from compress.invariants import Invariants
from compress.passes.contract import NetworkPass
from compress.patterns import LayerNames
from compress.settings import ShareSettings
from compress.sharing import Group, groups_of, with_shared
from compress.storage import assign_weights, named_weights
from core.errors import CandidateError


class Share(NetworkPass):
    """Equal blocks of a stage use the layers of the first; the grammar has no word for a block that is used again.

    Attributes:
      groups: the blocks that became one; filled by `wrap`.
    """

    def __init__(self, settings: ShareSettings) -> None:
        self._settings = settings
        self.groups: tuple[Group, ...] = ()

    def wrap(self, model: keras.Model, earlier: Invariants, fine_tune: FineTune) -> keras.Model:
        """The network with its equal blocks shared. (`earlier` promises nothing of values.)

        Raises CandidateError if no two blocks are equal, or naming a pattern that matches nothing.
        """
        self.groups = groups_of(model, LayerNames(model, earlier).excluded(self._settings.exclude))
        if not self.groups:
            raise CandidateError("share: no two blocks of a stage have the same shapes")
        return _exchanged(with_shared(model, self.groups), _fixed)

    def promises(self) -> Invariants:
        """Which layers gave way to those of the first block of their group."""
        return Invariants(gone=tuple(name for group in self.groups for block in group.blocks[1:] for name in block))

    def strip(self, wrapped: keras.Model) -> keras.Model:
        """The trained network with plain batch normalizations."""
        return _exchanged(wrapped, _plain)


class FixedNormalization(keras.layers.BatchNormalization):
    """A batch normalization that keeps its statistics: in training too it is a scale and an offset per channel."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """[..., channels] -> the same shape."""
        return super().call(inputs, training=False, mask=mask)


def _fixed(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
    is_shared = len(layer.inbound_nodes) > 1
    return FixedNormalization if is_shared and type(layer) is keras.layers.BatchNormalization else type(layer)


def _plain(layer: keras.layers.Layer) -> type[keras.layers.Layer]:
    return keras.layers.BatchNormalization if type(layer) is FixedNormalization else type(layer)


def _exchanged(model: keras.Model, class_of: Callable[[keras.layers.Layer], type[keras.layers.Layer]]) -> keras.Model:
    """The same network and weights in new layers of the classes that `class_of` names."""
    exchanged = keras.models.clone_model(
        model, clone_function=lambda layer: class_of(layer).from_config(layer.get_config())
    )
    assign_weights(exchanged, named_weights(model))
    return exchanged
