"""The stage of a compression pass: what it tells of a network that is pruned for a latency table's target."""

from __future__ import annotations

from pathlib import Path

from compress.distill_config import DistillConfig
from compress.invariants import Invariants
from compress.settings import PassSpec, StructuredSettings
from compress.storage import save_model
from core.progress import SilentReporter
from core.workspace import atomic_write_json
from pipeline.node import NodeRecord, read_node
from pipeline.planner import Stage
from pipeline.runner import Outcome, StageContext
from pipeline.stages.compression_pass import run
from search.build import build
from search.grammar import from_text
from search.latency.rates import LatencyRates, OperatorRate
from search.settings import TrainConfig
from tests.pipeline.test_convert_stage import write_data

ARCH = "input_r16_n2_w1 stem_s2_c16 ir_r1_k3_s1_e4_c24 head_c64"
KINDS = ("conv", "dense", "depthwise 3x3", "elementwise", "pointwise")
RATES = LatencyRates("int8", tuple(OperatorRate(kind, 0.1, 0.5, 500.0) for kind in KINDS), 3.0, 100, 0.1)


def passed(folder: Path, parent: str, name: str) -> Outcome:
    """Prunes the channels of the stage `parent` to 70 % of the predicted latency, as the stage `name`."""
    settings = StructuredSettings(0.7, "latency", importance="l1", rates=RATES, channel_multiple=4)
    spec = PassSpec("structured_prune", settings)
    params = {"spec": spec, "train": TrainConfig(epochs=1, batch_size=5), "distill": DistillConfig(), "seed": 1}
    stage = Stage(name, "pass", "0" * 12, params, ("data", parent))
    (folder / name).mkdir()
    inputs = {"data": folder / "data", parent: folder / parent}
    return run(StageContext(stage, folder / name, folder, inputs, SilentReporter()))


def test_the_latency_that_a_table_predicts_is_told_and_kept(tmp_path: Path) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "w0.float").mkdir()
    save_model(build(from_text(ARCH)), tmp_path / "w0.float" / "model")
    atomic_write_json(tmp_path / "w0.float" / "node.json", NodeRecord(ARCH, "float", 0.5, Invariants(), 0, 0))

    outcome = passed(tmp_path, "w0.float", "w0.once")
    before, after = read_node(tmp_path / "w0.once").predicted_us
    assert after <= 0.7 * before
    assert outcome.summary.endswith(f", predicted latency {before:.0f} -> {after:.0f} us")

    (tmp_path / "checkpoint.npz").unlink()  # of the stage before, whose scratch folder this one shares
    passed(tmp_path, "w0.once", "w0.twice")
    first, last = read_node(tmp_path / "w0.twice").predicted_us
    assert first == before  # that of the network before any pass
    assert last <= 0.7 * after
