from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from core.keras_env import tf

import numpy as np
import pytest
from ai_edge_litert.tools import flatbuffer_utils

from compress.invariants import Invariants, observe
from compress.passes import PASSES
from compress.run import PassResult, apply_pass
from compress.storage import load_model, named_weights, save_model
from core.errors import InvariantError
from tests.compress.nets import CHAIN, CLUSTERS, SPECS, ZeroingPass, blob_images, fine_tune, small_network

CONV_2D, FULLY_CONNECTED = 3, 9  # BuiltinOperator of the TFLite schema
EPOCHS = 2


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("parent")
    save_model(small_network(), directory)
    return directory


@pytest.fixture(scope="module")
def chain(parent: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, PassResult]:
    """prune -> cluster -> quantize, each from the model that the one before saved, as the pipeline does it."""
    directory, earlier, results = parent, Invariants(), {}
    images = blob_images(128)
    for name, spec in CHAIN.items():
        results[name] = apply_pass(spec, load_model(directory), earlier, fine_tune(images, EPOCHS), images)
        earlier, directory = results[name].invariants, tmp_path_factory.mktemp(name)
        save_model(results[name].model, directory)
    return results


def test_invariants_accumulate_and_hold_on_the_float_kernels(chain: dict[str, PassResult]) -> None:
    promised = chain["quantize"].invariants
    layers = {"stem_conv", "s0_b0_expand_conv", "s0_b0_project_conv", "head_conv", "logits"}
    assert layers <= dict(promised.sparsity).keys() == dict(promised.clusters).keys()
    assert not any("dw" in layer for layer, _ in promised.sparsity)
    for result in chain.values():
        assert result.states == observe(result.model)
        assert len(result.history.loss) == EPOCHS
        for state in result.states:
            if state.layer in dict(promised.sparsity):
                assert state.sparsity >= 0.5 - 1 / state.size  # within one weight
    for state in chain["prune"].states:
        if state.layer in dict(promised.sparsity):
            assert state.sparsity <= 0.5 + 1 / state.size
    for name in ("cluster", "quantize"):
        clustered = [state for state in chain[name].states if state.layer in layers]
        assert all(1 < state.unique_values <= CLUSTERS for state in clustered)


def test_quantization_moves_shared_values_together(chain: dict[str, PassResult]) -> None:
    """Training goes on under the tie: the values change, the sharing does not."""
    before, after = named_weights(chain["cluster"].model), named_weights(chain["quantize"].model)
    old, new = before["head_conv/kernel"].ravel(), after["quant_head_conv/kernel"].ravel()
    assert not np.array_equal(old, new)
    pairs = {(float(a), float(b)) for a, b in zip(old, new, strict=True)}
    assert len(pairs) == len({a for a, _ in pairs})
    assert (0.0, 0.0) in pairs


def test_invariants_hold_in_the_int8_file(chain: dict[str, PassResult], tmp_path: Path) -> None:
    model = chain["quantize"].model
    weights = int8_weights(model, tmp_path / "model.tflite")
    required = dict(chain["quantize"].invariants.sparsity)
    assert weights.keys() == required.keys()
    for layer, values in weights.items():
        zeros = float(np.mean(values == 0))
        assert zeros >= required[layer], layer
        assert max(len(np.unique(channel)) for channel in values) <= CLUSTERS, layer


def int8_weights(model: object, path: Path) -> dict[str, np.ndarray]:
    """The int8 weights [output channel, ...] of each convolution and dense layer; requires that no float is left."""
    function = tf.function(lambda image: model(image, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((1, *model.input_shape[1:]), tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], model)
    converter.experimental_lower_to_saved_model = False
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())
    flatbuffer = flatbuffer_utils.read_model(str(path))
    graph = flatbuffer.subgraphs[0]
    float32 = [tensor.name for tensor in graph.tensors if tensor.type == 0]
    assert not float32, float32
    found = {}
    for operator in graph.operators:
        if flatbuffer.operatorCodes[operator.opcodeIndex].builtinCode in (CONV_2D, FULLY_CONNECTED):
            tensor = graph.tensors[operator.inputs[1]]
            layer = tensor.name.decode().split("quant_", 1)[1].split("/", 1)[0]
            data = np.frombuffer(bytes(flatbuffer.buffers[tensor.buffer].data), np.int8)
            found[layer] = data.reshape(tensor.shape[0], -1)
    return found


KILL_AND_RESUME = """
import sys
from pathlib import Path
from compress.invariants import Invariants
from compress.run import apply_pass
from compress.storage import load_model, save_model
from core.progress import SilentReporter, Task
from tests.compress.nets import CHAIN, blob_images, fine_tune

class Killed(BaseException):
    pass

class Killer(Task):
    steps = 0
    def advance(self, units=1, note=""):
        self.steps += 1
        if self.steps == 6:  # in the middle of the second epoch of 4 steps
            raise Killed

class KillingReporter(SilentReporter):
    def task(self, label, total):
        import contextlib
        return contextlib.nullcontext(Killer())

model, earlier, images = load_model(Path(sys.argv[1])), Invariants(), blob_images(128)
for name, spec in CHAIN.items():
    checkpoint = Path(sys.argv[2]) / f"{name}.npz"
    try:
        apply_pass(spec, model, earlier, fine_tune(images, checkpoint=checkpoint, reporter=KillingReporter()), images)
        sys.exit("was not killed")
    except Killed:
        assert checkpoint.exists()
    result = apply_pass(spec, model, earlier, fine_tune(images, checkpoint=checkpoint), images)
    save_model(result.model, Path(sys.argv[2]) / name)
    model, earlier = result.model, result.invariants
"""


def test_killed_pass_resumes_exactly_in_another_process(
    chain: dict[str, PassResult], parent: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", KILL_AND_RESUME, str(parent), str(tmp_path)], check=True)
    for name, undisturbed in chain.items():
        expected, found = named_weights(undisturbed.model), named_weights(load_model(tmp_path / name))
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(value, found[key], err_msg=f"{name}: {key}")


def test_broken_pass_fails_with_layer_and_pass(parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PASSES, "prune", f"{ZeroingPass.__module__}:{ZeroingPass.__name__}")
    images = blob_images(32)
    with pytest.raises(InvariantError, match="'prune' zeroed layer 'head_conv' whole"):
        apply_pass(SPECS["prune"], load_model(parent), Invariants(), fine_tune(images, epochs=1), images)
