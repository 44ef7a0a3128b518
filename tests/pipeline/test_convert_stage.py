"""The conversion stage on a pruned network whose kernels may be stored sparse: what it writes and what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from compress.invariants import Invariants, kernel_variable
from compress.one_shot import pruned
from compress.storage import save_model
from core.progress import SilentReporter
from core.workspace import atomic_write_json, read_json
from pipeline.node import NodeRecord
from pipeline.planner import Stage
from pipeline.runner import StageContext
from pipeline.stages.convert import run
from search.build import build
from search.grammar import from_text

ARCH = "input_r16_n2_w1_xnnpack stem_s2_c16 ir_r1_k3_s1_e4_c24 head_c64"


def write_data(folder: Path) -> None:
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3)).astype(np.uint8)
    images[0, 0, 0], images[1, 0, 0] = 0, 255
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", (np.arange(20) % 2).astype(np.int32))
    np.savez(folder / "rows.npz", train=np.arange(10), val=np.arange(10, 15), test=np.arange(15, 20))
    atomic_write_json(folder / "data.json", {"name": "noise", "class_names": ["a", "b"], "augment": "none"})


def write_node(folder: Path) -> None:
    model = build(from_text(ARCH))
    for name in ("s0_b0_expand_conv", "s0_b0_project_conv", "head_conv"):
        kernel = kernel_variable(model.get_layer(name))
        kernel.assign(pruned(kernel.numpy(), 0.9))
    folder.mkdir()
    save_model(model, folder / "model")
    atomic_write_json(folder / "node.json", NodeRecord(ARCH, "sparse0.9", 0.5, Invariants(), 0, 0))


def test_the_encoding_that_was_kept_is_told(tmp_path: Path) -> None:
    data, node, out = tmp_path / "data", tmp_path / "node", tmp_path / "out"
    write_data(data)
    write_node(node)
    out.mkdir()
    params = {"scheme": "float32", "steps": ("sparse0.9",), "metadata": None, "recipe": "sparse:0.9"}
    stage = Stage("w0.sparse0.9.convert", "convert", "0" * 12, params, ("data", "w0.sparse0.9"))
    context = StageContext(stage, out, tmp_path, {"data": data, "w0.sparse0.9": node}, SilentReporter())
    outcome = run(context)
    encoding = read_json(out / "encoding.json")
    assert encoding["is_sparse"] and "content" not in encoding
    assert encoding["sparse_bytes"] == (out / "model.tflite").stat().st_size < encoding["dense_bytes"]
    kept, other = encoding["sparse_bytes"] / 1000, encoding["dense_bytes"] / 1000
    assert outcome.summary.endswith(f"; kernels stored sparse ({kept:.1f} kB), dense {other:.1f} kB")
    assert {tensor["name"] for tensor in encoding["tensors"]} >= {"head_conv"}
