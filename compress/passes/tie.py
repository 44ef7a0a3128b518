"""Trains a kernel without breaking its zeros and its shared values.

The kernel stays an ordinary variable; only its gradient changes. Weights that share a value get the sum of their
gradients (Han et al. 2015, "Deep Compression", trained quantization), so an element-wise optimizer moves them together;
pruned weights get none. tfmot's cluster-preserving quantizers instead let weights change their cluster while training:
they switch to clusters per channel when the channels happen to have about as many values each, drop the zeros of all
convolutions when one has none, and can zero layers whole (tfmot issue 979).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.keras_env import tf

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Tie:
    """Which weights of a kernel move together.

    Attributes:
      groups: int32, the kernel's shape: the number of each weight's group (0, 1, ...).
      first: int64 [groups], the flat index of one weight of each group.
      moves: float32 [groups], 1, or 0 for the group that stays zero.
    """

    groups: npt.NDArray[np.int32]
    first: npt.NDArray[np.int64]
    moves: npt.NDArray[np.float32]

    @classmethod
    def of(cls, kernel: npt.NDArray[np.float32], *, keep_zeros: bool, keep_shared: bool) -> Tie:
        """The tie that keeps the kernel's zeros and, with `keep_shared`, its distinct values together."""
        if keep_shared:
            values, first, groups = np.unique(kernel, return_index=True, return_inverse=True)
        else:
            values, first, groups = kernel.reshape(-1), np.arange(kernel.size), np.arange(kernel.size)
        moves = np.where((values == 0.0) & keep_zeros, 0.0, 1.0)
        return cls(groups.reshape(kernel.shape).astype(np.int32), first, moves.astype(np.float32))

    def apply(self, kernel: tf.Tensor) -> tf.Tensor:
        """The kernel unchanged, with the gradient of the shared values."""

        @tf.custom_gradient
        def identity(values: tf.Tensor) -> tuple[tf.Tensor, object]:
            def gradient(upstream: tf.Tensor) -> tf.Tensor:
                sums = tf.math.unsorted_segment_sum(upstream, self.groups, len(self.moves))
                return tf.gather(sums * self.moves, self.groups)

            return tf.identity(values), gradient

        return identity(kernel)

    def exact(self, kernel: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The trained kernel with every group at the value of its first weight.

        They differ by rounding at most, where vector and scalar instructions of the optimizer round differently.
        """
        return kernel.reshape(-1)[self.first][self.groups]
