"""Small finished runs, built from values, and what is unusual about each: the material of the report's tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any
from unittest.mock import patch

from core.spec_io import to_plain
from core.values import Artifact, LatencyStats, Measurement, OpTime, Target, TensorSpec
from deploy.gates import Limits, compare_releases
from deploy.manifest import Manifest, ReleaseLatency, ReleaseModel, TestSet
from deploy.store.index_file import index_model
from pipeline import report_figures, report_pareto
from pipeline.config import Config
from pipeline.plan_artifacts import ArtifactPlan
from pipeline.report import render
from pipeline.report_data import ArtifactReport, Failure, Mistake, RunReport
from pipeline.report_lines import lines_svg
from pipeline.report_plots import pareto_svg
from pipeline.report_releases import PastRelease, PreviousRelease
from pipeline.report_waterfall import waterfall_svg
from search.trials import FAILED, OK, Trial

CREATED = "2026-11-21T21:16:52+00:00"
ARCH = "input_r28_n3_w1 stem_s2_c16 ir_r1_k5_s1_e1_c16 ir_r2_k3_s2_e2_c24_se0.25_noskip head_c160"
NAMES = ("ant", "bee", "cat")
EMULATED = "noisy: emulated: aarch64 programs on a processor of kind x86_64"
NOISY = "noisy: core 0 was 100% busy before the start (limit 20%)"
PRUNED, CLUSTERED, ALL_STEPS = ("prune0.5",), ("prune0.5", "cluster16"), ("prune0.5", "cluster16", "qat")


def measured(median_us: float, target: str = "host", verdict: str = "ok") -> Measurement:
    medians = (0.97 * median_us, median_us, 1.02 * median_us)
    ends = (0.96 * median_us, 1.03 * median_us)
    stats = LatencyStats(median_us, 1.3 * median_us, 1.1 * median_us, 0.9 * median_us, 3000, 3, 0.05, medians, *ends)
    seen = {"governor": "performance", "init_us": f"{10 * median_us:.0f}", "host_cpu": "Some CPU"}
    return Measurement("0" * 64, Target(target, abi="x86_64"), stats, 47_000_000, "LiteRT 2.3.0", seen, verdict)


STORED = {
    "bits": 8,
    "scales": 16,
    "scale_min": 0.01,
    "scale_max": 0.02,
    "zero_point": 0,
    "float_error": 0.004,
    "pattern": "",
}


def validation(accuracy: float, confusion: tuple[tuple[int, ...], ...], clusters: int | None) -> dict[str, Any]:
    layer = {"layer": "stem_conv", "operator": "CONV_2D", "weights": 432, "sparsity": 0.25}
    return {
        "images": sum(map(sum, confusion)),
        "keras_accuracy": accuracy,
        "tflite_accuracy": accuracy,
        "top1_agreement": 0.996,
        "mean_abs_error": 0.0013,
        "max_abs_error": 0.13,
        "output_step": 1 / 256,
        "confusion": confusion,
        "sparsity": 0.385,
        "clusters": clusters,
        "codebook_bytes": None if clusters is None else 15_000,
        "layers": [{**layer, "unique_values": 200, "max_unique_values": 16, **STORED}],
        "problems": [],
    }


def model(
    name: str, recipe: str, scheme: str, steps: tuple[str, ...], kilobytes: float, accuracy: float, median_us: float
) -> ArtifactReport:
    """An artifact of winner 0; its test set has 1,000 images of three classes."""
    errors = round(500 * (1 - accuracy))
    confusion = ((400, 0, 0), (0, 300 - errors, errors), (0, errors, 300 - errors))
    spec = TensorSpec("image", (1, 28, 28, 3), "uint8")
    return ArtifactReport(
        plan=ArtifactPlan(name, 0, "w0.float", scheme, steps, recipe),
        file=f"tiny-{recipe or '-'.join(steps)}.tflite",
        source="model.tflite",
        arch=ARCH,
        macs=1_450_000,
        params=33_700,
        artifact=Artifact(
            "m", "0" * 64, round(1000 * kilobytes), scheme, (spec,), (spec,), (), {"tensorflow": "2.21.0"}
        ),
        zipped_bytes=round(900 * kilobytes),
        val_accuracy=accuracy,
        validation=validation(accuracy, confusion, 16 if "cluster16" in steps else None),
        measurements=(measured(median_us),),
    )


MODELS = (
    model("w0.float32", "float32", "float32", (), 200, 0.970, 80),
    model("w0.float.full_integer", "ptq", "full_integer", (), 80, 0.960, 50),
    model("w0.prune0.5.float32", "", "float32", PRUNED, 199, 0.950, 79),
    model("w0.prune0.5-cluster16.float32", "", "float32", CLUSTERED, 198, 0.940, 78),
    model("w0.prune0.5-cluster16-qat", "pcqat", "full_integer", ALL_STEPS, 82, 0.966, 64),
)


def trial(index: int, accuracy: float = 0.9, latency_us: float = 60.0, **changes: Any) -> Trial:
    metrics = {"val_accuracy": accuracy, "macs": 1e4 * latency_us, "params": 3e4, "latency_us": latency_us}
    metrics["size_bytes"] = 1e3 * latency_us
    seconds = {"train": 9.5, "measure": 1.46}
    done = Trial(index, str(index), (0, 1), ARCH, f"id{index}", 2, 7, OK, accuracy, "", metrics, seconds)
    return replace(done, **changes)


def failed(index: int, reason: str) -> Trial:
    return trial(index, status=FAILED, reason=reason, metrics={}, seconds={"total": 1.0}, score=-1.0)


TRIALS = (
    trial(0, 0.60, 103.0),
    trial(1, 0.80, 201.0),
    trial(2, 0.88, 58.0),
    trial(3, 0.85, 48.0),
    failed(4, "diverged"),
)


def run(**changes: Any) -> RunReport:
    """A small finished run; the best model is pcqat."""
    config = to_plain(Config())
    config["release"]["name"] = "tiny"
    data = {
        "name": "mnist_5k",
        "class_names": list(NAMES),
        "resolution": 28,
        "counts": {"train": 3600, "val": 400, "test": 1000},
    }
    whole = RunReport(
        release="tiny",
        config=config,
        data=data,
        teacher={"arch": ARCH, "file": None, "val_accuracy": 0.9875},
        trials=TRIALS,
        winners=(2,),
        artifacts=MODELS,
        failures=(),
        seconds={"data": 1.4, "search": 101.2, "w0.float": 90.7, "w0.prune0.5": 30.0, "w0.float32.bench.host": 3.7},
    )
    return replace(whole, **changes)


def with_config(report: RunReport, section: str, **values: Any) -> RunReport:
    return replace(report, config={**report.config, section: {**report.config[section], **values}})


def with_classes(names: list[str], matrix: tuple[tuple[int, ...], ...]) -> RunReport:
    artifacts = tuple(replace(m, validation={**m.validation, "confusion": matrix}) for m in MODELS)
    return run(artifacts=artifacts, data={**run().data, "class_names": names})


def operator(layer: str, is_float: bool) -> dict[str, Any]:
    return {"layer": layer, "operator": "CONV_2D", "macs": 9_000, "sensitivity": 0.21, "is_float": is_float}


FALL_BACK = {
    "float_accuracy": 0.97,
    "int8_accuracy": 0.90,
    "val_accuracy": 0.968,
    "max_loss": 0.005,
    "float_macs": 0.125,
    "operators": [operator("stem_conv", True), operator("head_conv", False)],
    "steps": [{"layer": "stem_conv", "precision": "float32", "float_macs": 0.125, "val_accuracy": 0.968}],
}
KERNEL = {"name": "head_conv", "shape": [160, 1, 1, 24], "sparsity": 0.8, "stored_bytes": 5000, "dense_bytes": 15_360}
ENCODING = {
    "is_sparse": True,
    "dense_bytes": 200_000,
    "sparse_bytes": 120_000,
    "dense_zipped_bytes": 90_000,
    "sparse_zipped_bytes": 80_000,
    "tensors": [KERNEL],
}


def with_layers(artifact: ArtifactReport, **changes: Any) -> ArtifactReport:
    layers = [{**layer, **changes} for layer in artifact.validation["layers"]]
    return replace(artifact, validation={**artifact.validation, "layers": layers})


MIXED = replace(model("w0.float.mixed", "mixed", "mixed", (), 100, 0.968, 60), fall_back=FALL_BACK)
SPARSE = replace(model("w0.sparse0.8", "sparse", "float32", ("sparse0.8",), 120, 0.95, 70), encoding=ENCODING)
BLOCKS = with_layers(
    model("w0.prune2of4-qat", "prune:2:4+qat", "full_integer", ("prune2of4", "qat"), 80, 0.95, 60), pattern="2:4"
)


def with_ops(artifact: ArtifactReport) -> ArtifactReport:
    """With an operator profile of its first measurement."""
    ops = (OpTime("CONV_2D", "stem_conv", 30.0, 0.6), OpTime("CONV_2D", "head_conv", 15.0, 0.3))
    ops += (OpTime("SOFTMAX", "scores", 5.0, 0.1, "XNNPACK"),)
    first, *others = artifact.measurements
    return replace(artifact, measurements=(replace(first, ops=ops), *others))


def without_intervals(artifact: ArtifactReport) -> ArtifactReport:
    found = (replace(m, latency=replace(m.latency, low_us=0.0, high_us=0.0)) for m in artifact.measurements)
    return replace(artifact, measurements=tuple(found))


def latency_of(median_us: float, target: str = "host") -> ReleaseLatency:
    ends = (0.97 * median_us, 1.02 * median_us)
    return ReleaseLatency(target, median_us, 0.0, 3000, 1, "LiteRT 2.3.0", *ends, 5, "Some CPU", "x86_64", "xnnpack")


def released(artifact: ArtifactReport, size: float = 1.0, accuracy: float = 0.0, latency: float = 1.0) -> ReleaseModel:
    """A model as a manifest has it: size and latency times a factor, accuracy plus a difference."""
    (spec,) = artifact.artifact.inputs
    return ReleaseModel(
        file=artifact.file,
        sha256="0" * 64,
        size_bytes=round(size * artifact.artifact.size_bytes),
        zipped_bytes=round(size * artifact.zipped_bytes),
        scheme=artifact.plan.scheme,
        input=spec,
        output=spec,
        labels="labels.txt",
        arch=ARCH,
        macs=artifact.macs,
        params=artifact.params,
        recipe=artifact.plan.recipe,
        float_test_accuracy=0.97,
        test_accuracy=artifact.validation["tflite_accuracy"] + accuracy,
        sparsity=0.0,
        clusters=None,
        latency=tuple(latency_of(latency * m.latency.median_us, m.target.name) for m in artifact.measurements),
        winner=artifact.plan.winner,
        val_accuracy=artifact.val_accuracy + accuracy,
    )


def manifest(models: tuple[ReleaseModel, ...], created: str) -> Manifest:
    test_set = TestSet("mnist_5k", NAMES, 1000, "0" * 64)
    return Manifest("tiny", created, {}, models, test_set, key="5f3a9c21" * 4)


def past(day: int, *models: ReleaseModel) -> PastRelease:
    created = f"2026-11-{day:02}T10:00:00+00:00"
    return PastRelease(manifest(models, created).release_id, created, tuple(map(index_model, models)))


def previous(releases: int = 2, **changes: Any) -> PreviousRelease:
    """Of the plain run: the float32 model and pcqat were slower by half, ptq was smaller, and mixed is gone."""
    float32, ptq, pcqat = MODELS[0], MODELS[1], MODELS[4]
    old = (released(float32, latency=1.5), released(ptq, size=0.8), released(pcqat, accuracy=-0.01, latency=1.5))
    old += (released(model("w0.mixed", "mixed", "mixed", (), 100, 0.96, 60)),)
    before = manifest(old, "2026-11-20T10:00:00+00:00")
    after = manifest(tuple(released(artifact) for artifact in MODELS if artifact.plan.recipe), CREATED)
    changed = compare_releases(before, after, None, None, Limits())
    history = tuple(past(20 - number, *old) for number in reversed(range(releases)))
    return replace(PreviousRelease(before.release_id, before, changed, history), **changes)


# A PNG of one grey pixel.
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mOoBwAAgQCAhLhZcQAAAABJRU5ErkJggg=="
MISTAKES = (Mistake(17, 1, 2, 0.996, 0.002, PIXEL), Mistake(400, 2, 1, 0.75, 0.2, PIXEL))
COMMAND = "python -m pipeline.main run --config=configs/tiny.py --workdir=out/tiny"

EDGES = {
    "everything": run(
        artifacts=(*MODELS[:-1], with_ops(MODELS[-1])), previous=previous(5), mistakes=MISTAKES, command=COMMAND
    ),
    "a command": run(command=COMMAND),
    "a previous release without history": run(previous=previous(0)),
    "an earlier release without validation accuracy": run(
        previous=previous(manifest=manifest((replace(released(MODELS[0]), val_accuracy=0.0),), CREATED))
    ),
    "nothing wrong": with_classes(["ant", "bee"], ((500, 0), (0, 500))),
    "no interval": run(artifacts=tuple(without_intervals(m) for m in MODELS)),
    "mixed precision": run(artifacts=(*MODELS, MIXED)),
    "sparse kernels": run(artifacts=(*MODELS, SPARSE)),
    "patterns": run(artifacts=(*MODELS, BLOCKS)),
    "clusters that cannot be counted": run(
        artifacts=(*MODELS[:-1], with_layers(MODELS[-1], max_unique_values=None, float_error=None))
    ),
    "a predicted latency": run(artifacts=(*MODELS[:-1], replace(MODELS[-1], predicted_us=(80.4, 40.2)))),
    "a latency table": with_config(run(), "search", latency_table="table.json"),
    "own model": with_config(
        run(trials=(), winners=(0,), teacher=None, seconds={"data": 1.0, "w0.float": 2.0}), "model", file="mine.keras"
    ),
    "macs": with_config(run(), "search", cost="macs"),
    "pareto": with_config(
        run(),
        "search",
        objective="pareto",
        objectives=["val_accuracy max", "latency_us min"],
        max_macs=2e6,
        max_params=1e5,
    ),
    "one trial": run(trials=(trial(0),), winners=(0,)),
    "all but one failed": run(trials=(failed(0, "x"), trial(1), failed(2, "y"), failed(3, "z")), winners=(1,)),
    "no full integer": run(artifacts=(MODELS[0], model("w0.float.float16", "float16", "float16", (), 101, 0.97, 81))),
    "float32 alone": run(artifacts=MODELS[:1]),
    "a step that gains nothing": run(artifacts=(MODELS[0], model("q", "qat", "full_integer", ("qat",), 200, 0.97, 82))),
    "no parent": run(artifacts=MODELS[1:]),
    "nothing released": run(artifacts=MODELS[2:3]),
    "two winners": run(
        winners=(2, 3),
        artifacts=(*MODELS, *(replace(m, plan=replace(m.plan, winner=1, name="v" + m.plan.name)) for m in MODELS)),
    ),
    "two targets": with_config(
        run(artifacts=tuple(replace(m, measurements=(*m.measurements, measured(3e4, "pixel3"))) for m in MODELS)),
        "bench",
        targets=["host", "pixel3"],
    ),
    "noisy": run(artifacts=tuple(replace(m, measurements=(measured(50, verdict=NOISY),)) for m in MODELS)),
    "failures": run(
        failures=(
            Failure("w0.qat", "qat", "w0.qat.convert", "operator X computes in floating point"),
            Failure(MODELS[1].plan.name, "ptq", "w0.float.full_integer.bench.host", "adb: device not found"),
        )
    ),
    "an emulated target": with_config(
        run(unmeasured=(Failure(MODELS[1].plan.name, "ptq", "w0.float.full_integer.bench.board", EMULATED),)),
        "bench",
        targets=["host", "board"],
    ),
    "hundred classes": with_classes(
        [f"class {i}" for i in range(100)],
        tuple(tuple(9 if i == j else 2 if j == i + 1 else 0 for j in range(100)) for i in range(100)),
    ),
    "no teacher": run(teacher=None),
    "a reused trial": run(trials=(*TRIALS, trial(5, reused_from=0, seconds={}))),
    "wide costs": run(trials=(*TRIALS, trial(5, 0.95, 9000.0))),
    "many trials": run(trials=tuple(trial(i, 0.5 + i / 4000, 50.0 + i) for i in range(1200)), winners=(1199,)),
}


def _once(draw: Callable[..., str]) -> Callable[..., str]:
    """`draw`, which draws equal plots once: most runs here share most of theirs."""
    known = cache(draw)
    return lambda *args, **named: known(*(tuple(arg) if isinstance(arg, list) else arg for arg in args), **named)


WATERFALL, PARETO, LINES = _once(waterfall_svg), _once(pareto_svg), _once(lines_svg)


def page_of(report: RunReport) -> str:
    """The page of a run."""
    with (
        patch.object(report_figures, "waterfall_svg", WATERFALL),
        patch.object(report_figures, "lines_svg", LINES),
        patch.object(report_pareto, "pareto_svg", PARETO),
    ):
        return render(report, CREATED)


@cache
def rendered(edge: str) -> str:
    """The page of an edge case; "" is the plain run."""
    return page_of(EDGES[edge] if edge else run())
