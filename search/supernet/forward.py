"""One pass through a supernet: the graph of all its networks at once, of which a setting takes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.keras_env import tf

from search.supernet.elastic_ops import ACTIVATIONS, conv, depthwise, leading, resized, shrunk
from search.supernet.layout import RESOLUTION, Layout
from search.supernet.parts import Branch, Gate, Width

# Of the name of a batch normalization, x [batch, h, w, c] and its channels: the normalized x.
Normalize = Callable[[str, tf.Tensor, Width], tf.Tensor]


@dataclass(frozen=True, eq=False)
class Slots:
    """A setting's numbers by their names, as scalar tensors."""

    numbers: Mapping[str, tf.Tensor]
    is_on: Mapping[str, tf.Tensor]

    def size(self, slot: str | None) -> tf.Tensor | None:
        """How many; None for all."""
        return None if slot is None else self.numbers[slot]

    def gated(self, gate: Gate, then: Callable[[], tf.Tensor], otherwise: Callable[[], tf.Tensor]) -> tf.Tensor:
        """`then()` where the gate is open, else `otherwise()`; only one of them is computed."""
        if gate is None:
            return otherwise()
        return tf.cond(self.is_on[gate], then, otherwise) if gate else then()


def slots_of(layout: Layout, setting: tf.Tensor) -> Slots:
    """The slots of a setting, int32 [slots]."""
    count = len(layout.slots)
    if not count:
        return Slots({}, {})
    numbers, is_on = tf.unstack(setting, count), tf.unstack(setting > 0, count)
    return Slots(dict(zip(layout.slots, numbers, strict=True)), dict(zip(layout.slots, is_on, strict=True)))


@dataclass(frozen=True, eq=False)
class Pass:
    """The graph of one pass. Blocks, layers and their order are those of search.blocks.inverted and search.lowering."""

    layout: Layout
    weights: Mapping[str, tf.Variable]
    slots: Slots
    normalize: Normalize

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Float images [batch, R, R, 3] in 0..1 -> [batch, classes]."""
        template = self.layout.space.template
        x = resized(images, self.slots.numbers[RESOLUTION]) if RESOLUTION in self.slots.numbers else images
        x = conv(x, self._taken("stem_conv/kernel"), template.stem_stride, self._is_explicit(template.stem_stride))
        x = ACTIVATIONS[template.stem_activation](self.normalize("stem_bn", x, self.layout.ends.stem))
        for branches in self.layout.branches:
            x = self._place(branches, x)
        return self._head(x)

    def _is_explicit(self, stride: int) -> bool:
        return stride > 1 and self.layout.space.template.form == "xnnpack"

    def _taken(self, name: str) -> tf.Tensor:
        """The part in use of a weight, as its channels are the leading ones."""
        spec = self.layout.spec(name)
        sizes = [
            None if axis < 2 and spec.kind in ("kernel", "depthwise") else slot for axis, slot in enumerate(spec.axes)
        ]
        return leading(self.weights[name], [self.slots.size(slot) for slot in sizes])

    def _place(self, branches: tuple[Branch, ...], x: tf.Tensor) -> tf.Tensor:
        """The branch that has the place, else x itself; of the last one of a place that is never empty, no question."""
        branch, *others = branches

        def otherwise() -> tf.Tensor:
            return self._place(tuple(others), x) if others else tf.identity(x)

        y = self.slots.gated(branch.active, lambda: self._block(branch, x), otherwise)
        y.set_shape([x.shape[0], None, None, None if branch.outputs.slot else branch.outputs.size])
        return y

    def _block(self, branch: Branch, inputs: tf.Tensor) -> tf.Tensor:
        name = branch.name
        if branch.op == "fused":
            x = conv(inputs, self._kernel(branch), branch.stride)
            x = self._activation(branch, self.normalize(f"{name}/fused_bn", x, branch.hidden))
        else:
            x = self.slots.gated(branch.own_width, lambda: self._expand(branch, inputs), lambda: inputs)
            x = depthwise(x, self._kernel(branch), branch.stride, self._is_explicit(branch.stride))
            x = self._activation(branch, self.normalize(f"{name}/dw_bn", x, branch.hidden))
        hidden = x
        x = self.slots.gated(branch.squeeze, lambda: self._squeeze_excite(branch, hidden), lambda: hidden)
        squeezed = x
        gate = branch.own_width if branch.op == "fused" else ""
        x = self.slots.gated(gate, lambda: self._project(branch, squeezed), lambda: squeezed)
        return self.slots.gated(branch.add, lambda: inputs + x, lambda: x)

    def _expand(self, branch: Branch, x: tf.Tensor) -> tf.Tensor:
        x = conv(x, self._taken(f"{branch.name}/expand_conv/kernel"), 1)
        return self._activation(branch, self.normalize(f"{branch.name}/expand_bn", x, branch.hidden))

    def _project(self, branch: Branch, x: tf.Tensor) -> tf.Tensor:
        x = conv(x, self._taken(f"{branch.name}/project_conv/kernel"), 1)
        return self.normalize(f"{branch.name}/project_bn", x, branch.outputs)

    def _kernel(self, branch: Branch) -> tf.Tensor:
        """The elastic kernel of a branch."""
        name = f"{branch.name}/{branch.spatial}"
        kernel = self._taken(f"{name}/kernel")
        if branch.kernel_slot is None:
            return kernel
        transforms = [self.weights[f"{name}/transform{size}"] for size in branch.kernel_sizes[1:]]
        return shrunk(kernel, transforms, branch.kernel_sizes, self.slots.numbers[branch.kernel_slot])

    def _activation(self, branch: Branch, x: tf.Tensor) -> tf.Tensor:
        return self._chosen(branch, x, branch.activations)

    def _chosen(self, branch: Branch, x: tf.Tensor, names: tuple[str, ...]) -> tf.Tensor:
        """One of these functions, by the branch's activation slot."""
        if len(set(names)) == 1 or branch.activation_slot is None:
            return ACTIVATIONS[names[0]](x)
        functions = [lambda name=name: ACTIVATIONS[name](x) for name in names]
        index = self.slots.numbers[branch.activation_slot]
        if len(functions) == 2:
            return tf.cond(index > 0, functions[1], functions[0])
        return tf.switch_case(index, functions)

    def _squeeze_excite(self, branch: Branch, x: tf.Tensor) -> tf.Tensor:
        name = f"{branch.name}/se_"
        inner = tuple("swish" if act == "swish" and branch.op != "ir3" else "relu" for act in branch.activations)
        gate = ACTIVATIONS["hard_sigmoid" if branch.op == "ir3" else "sigmoid"]
        scale = tf.reduce_mean(x, [1, 2])
        scale = tf.matmul(scale, self._taken(f"{name}reduce/kernel")[0, 0]) + self._taken(f"{name}reduce/bias")
        scale = self._chosen(branch, scale, inner)
        scale = tf.matmul(scale, self._taken(f"{name}expand/kernel")[0, 0]) + self._taken(f"{name}expand/bias")
        return x * gate(scale)[:, None, None, :]

    def _head(self, x: tf.Tensor) -> tf.Tensor:
        template, ends = self.layout.space.template, self.layout.ends
        act = ACTIVATIONS[template.head_activation]
        if ends.head is not None:
            x = act(self.normalize("head_bn", conv(x, self._taken("head_conv/kernel"), 1), ends.head))
        x = tf.reduce_mean(x, [1, 2], keepdims=template.head_norm)
        for index, units in enumerate(ends.units):
            if template.head_norm:
                x = conv(x, self._taken(f"units{index}_conv/kernel"), 1)
                x = act(self.normalize(f"units{index}_bn", x, units))
            else:
                x = act(self._dense(f"units{index}", x))
        return self._dense("logits", tf.squeeze(x, [1, 2]) if template.head_norm else x)

    def _dense(self, name: str, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, self._taken(f"{name}/kernel")) + self._taken(f"{name}/bias")
