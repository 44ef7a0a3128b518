"""The report page and the summary: what they say, and that nothing is injected or loaded."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.spec_io import from_plain, to_plain
from pipeline import report_again, report_trials, report_units, report_view
from pipeline.config import Config, validated
from pipeline.report import headline, render, summary
from pipeline.report_data import Failure, RunReport, read_measurements
from pipeline.report_files import RELEASE, in_store
from search.trials import Trial
from tests.pipeline.report_runs import (
    ARCH,
    COMMAND,
    CREATED,
    EDGES,
    MISTAKES,
    MODELS,
    NAMES,
    TRIALS,
    failed,
    measured,
    page_of,
    rendered,
    run,
    trial,
    with_classes,
)
from tests.tree import ROOT


class Page(HTMLParser):
    """A parsed page: every tag with its attributes, and the text without markup, each space one blank."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.tags if (value := attrs.get(attribute)) is not None]


def plain(text: str) -> str:
    return text.replace(report_units.NBSP, " ")


def test_headline() -> None:
    assert plain(headline(run())) == (
        "tiny-pcqat.tflite is the best full-integer model, chosen by validation accuracy. Against its float32 parent "
        "it is 2.4× smaller (82.0 kB against 200 kB), 1.25× faster on host (64.0 µs against 80.0 µs), and gets 96.6 % "
        "of the 1,000 test images right: 0.4 points lost."
    )


def test_page_holds_every_part() -> None:
    text = Page(render(run(), CREATED)).text
    for part in (
        "21 November 2026, 21:16 UTC",
        "5 trials of the search, of which 1 failed and has no point",
        "2.5× smaller",  # ptq
        "1.60× faster",
        "95.3–97.6",  # Wilson's interval of 966 of 1,000
        "prune 50 %",
        "cluster 16",
        "Some CPU",
        "Int8 on such a CPU does not rank like int8 on a phone",
        "ir_r2_k3_s2_e2_c24_se0.25_noskip",
        "2 inverted residuals, 3×3 kernel, expansion 2, stride 2, squeeze-excite 0.25, no skip connections",
        "98.8 % on 400 validation images",
        "compression passes 1 30.0 s",
        "1,000 test images that neither search nor training saw",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("edge", "parts"),
    [
        (
            "mixed precision",
            (
                "Operators in float32: 1 of 2",
                "stem_conv CONV_2D 9.00k 0.21 float32",
                "head_conv CONV_2D 9.00k 0.21 int8",
                "float32 gets 97.0 % right, int8 alone 90.0 %, this model 96.8 %; at most 0.5 points may be lost",
                "12.5 % of the multiply-accumulates are in float32",
            ),
        ),
        (
            "sparse kernels",
            (
                "Kernels stored sparse: 120 kB against 200 kB",
                "dense: 200 kB, zipped 90.0 kB; with those that have enough zeros sparse: 120 kB, zipped 80.0 kB",
                "head_conv 160 × 1 × 1 × 24 80.0 % 5.00 kB 15.4 kB",
            ),
        ),
        ("patterns", ("Pattern Unique values Within one scale", "stem_conv CONV_2D 432 25.0 % 2:4 200 16 8")),
        ("clusters that cannot be counted", ("stem_conv CONV_2D 432 25.0 % 200 – 8 0.01–0.02 –",)),
        ("", ("Clusters, as a table", "16 15.0 kB", "stem_conv CONV_2D 432 25.0 % 200 16 8 0.01–0.02 0.4 %")),
        ("own model", ("import of the model 1 2.0 s",)),
    ],
)
def test_what_was_chosen_and_stored_is_told(edge: str, parts: tuple[str, ...]) -> None:
    text = plain(Page(rendered(edge)).text)
    for part in parts:
        assert part in text, text[text.find(part.split(" ")[0]) :][:500]
    assert "training of the winners" not in text or edge != "own model"


def test_summary() -> None:
    text = plain(summary(run(failures=(Failure("w0.qat", "qat", "w0.qat", "layer a|b <i>: gone"),)), CREATED))
    assert "# tiny\n" in text
    assert "| tiny-ptq.tflite | full\\_integer | 80.0 kB | 72.0 kB | 96.0 % | +1.0 | 50.0 µs |\n" in text
    assert "- qat at stage w0.qat: layer a\\|b \\<i\\>: gone\n" in text


def test_same_run_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    # Read back from JSON: tuples inside `data` and `config` are lists there.
    (tmp_path / "run.json").write_text(json.dumps(to_plain(run())))
    code = (
        "import json, sys; from core.spec_io import from_plain; from pipeline.report import render\n"
        "from pipeline.report_data import RunReport\n"
        "report = from_plain(RunReport, json.load(open(sys.argv[1])))\n"
        "sys.stdout.buffer.write(render(report, sys.argv[2]).encode())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "run.json"), CREATED],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT), "TZ": "Asia/Tokyo"},
        capture_output=True,
        check=True,
    )
    assert done.stdout == page_of(from_plain(RunReport, json.loads(json.dumps(to_plain(run()))))).encode()


SAYS = {
    "everything": "1 regression against the previous release : size of tiny-ptq.tflite (+25 %)",
    "a command": "This run was started by:",
    "a previous release without history": "the figures over releases begin with the next one",
    "an earlier release without validation accuracy": "tiny-float32.tflite float32 200 kB 180 kB 97.0 % – 80.0 µs",
    "nothing wrong": "pcqat gets all 1,000 test images right",
    "no interval": "Process medians",
    "a latency table": "A trial's latency is that which the latency table predicts; a released model's latency",
    "a predicted latency": "1.45M 33.7k predicted 80.4 µs → 40.2 µs",
    "mixed precision": "Operators in float32: 1 of 2",
    "sparse kernels": "Kernels stored sparse: 120 kB against 200 kB",
    "patterns": "at least M of each N weights along the input channels are zero",
    "clusters that cannot be counted": "none where each weight has a factor of its own",
    "own model": "import of the model",
    "macs": "Multiply-accumulates are counted",
    "pareto": (
        # The front is trials 3 and 4; the box is 0.28 x 153 us, and 0.28 x 143 + 0.25 x 10 of it are behind the front.
        "objectives val_accuracy max, latency_us min: a front of 2 networks, whose hypervolume is 0.993 of the box "
        "that all trials span. Trained was nothing but networks of at most 2,000,000 multiply-accumulates and at most "
        "100,000 parameters."
    ),
    "one trial": "1 trial of the search, none failed",
    "all but one failed": "4 trials of the search, of which 3 failed",
    "no full integer": "tiny-float16.tflite is the best model (none is full-integer)",
    "float32 alone": "No compressed model was released",
    "a step that gains nothing": "it is no smaller (200 kB against 200 kB), 1.03× slower on host",
    "no parent": "tiny-pcqat.tflite is the best full-integer model, chosen by validation accuracy. It has 82.0 kB",
    "nothing released": "No model was released",
    "two winners": "w1 pcqat",
    "two targets": "Median on pixel3",
    "noisy": "5 of 5 measurements say not to rely on them",
    "failures": "operator X computes in floating point",
    "an emulated target": "No model has a figure on board.",
    "hundred classes": "100 classes are too many for a matrix; these are the 20 most frequent",
    "no teacher": "No teacher: the winner was trained on the labels alone",
    "a reused trial": "as trial 1",
    "wide costs": "6 trials of the search",
    "many trials": "The table holds the 500 trials of the highest scores",
}


@pytest.mark.parametrize("edge", EDGES)
def test_edge_case_is_said_and_the_page_is_sound(edge: str) -> None:
    text = rendered(edge)
    page = Page(text)
    assert SAYS[edge] in plain(page.text)
    assert Page(plain(summary(EDGES[edge], CREATED))).text.startswith("# tiny")
    assert len(text) < 1_000_000
    ids = page.values("id")
    assert not [name for name, times in Counter(ids).items() if times > 1]
    links = {value for value in page.values("href") if not value.startswith("data:")}
    files = {link for link in links if link.startswith(RELEASE)}
    assert {f"{RELEASE}{quote(artifact.file)}" for artifact in EDGES[edge].released} <= files
    links -= files
    assert {link[:1] for link in links} == {"#"}, "a link out of the release"
    assert not page.values("target"), "a link that opens another window"
    assert {link[1:] for link in links} <= set(ids), "a link to nowhere"
    drawn = {link for tag, attrs in page.tags if tag == "use" and (link := attrs.get("href"))}
    assert drawn and drawn <= links


@pytest.mark.parametrize("edge", EDGES)
def test_what_a_heading_sorts_has_an_order(edge: str) -> None:
    """A cell of a column that can be sorted is a plain number, a word, or says its number beside the text."""
    for table in re.findall(r'<table class="[^"]*sortable.*?</table>', rendered(edge), re.DOTALL):
        head, *rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        headings = re.findall(r"<th[^>]*>", head)
        for row in rows:
            cells = re.findall(r"<t[hd]\b([^>]*)>(.*?)</t[hd]>", row, re.DOTALL)
            assert len(cells) == len(headings)
            for heading, (attributes, content) in zip(headings, cells, strict=True):
                if "num" in heading and "data-plain" not in heading and "data-value" not in attributes:
                    assert re.fullmatch(r"[\d.]+", content), (heading, content)


@pytest.mark.parametrize("edge", EDGES)
def test_nothing_is_loaded(edge: str) -> None:
    text = rendered(edge)
    page = Page(text)
    assert "://" not in text and "@import" not in text
    assert not {"iframe", "object", "embed", "form", "base"} & {tag for tag, _ in page.tags}
    assert [attrs for tag, attrs in page.tags if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    assert not [value for value in page.values("src") + page.values("srcset") if not value.startswith("data:")]
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy and policy.startswith("default-src 'none';")


def test_everything_that_a_run_can_tell_is_on_the_page() -> None:
    text = plain(Page(rendered("everything")).text)
    for part in (
        "previous release: 96.0 µs",  # the headline's tile
        "tiny-20261120T100000Z-5f3a9c21 , 20 November 2026, 10:00 UTC. Of 10 figures: 1 regression, 2 better, "
        "3 within the limits, 4 not compared.",
        "size tiny-ptq.tflite ✗ regression +25 % 64.0 kB 80.0 kB",
        "test accuracy tiny-pcqat.tflite not compared +1.0 points 95.6 % 96.6 %",
        "the model itself tiny-mixed.tflite not compared",
        "6 releases; the last point is this run.",
        "Operators of tiny-pcqat.tflite",
        "CONV_2D LiteRT 2 45.0 µs 90.0 %",
        "The 2 of 34 wrongly classified test images that pcqat is most certain of",
        "bee 0.2 % cat 99.6 % image 17",
        COMMAND,
        "tiny-pcqat.md snippets/tiny-pcqat.py snippets/TinyPcqatClassifier.kt",
        "golden/tiny-pcqat.json",
    ):
        assert part in text, part
    alts = Page(rendered("everything")).values("alt")
    assert alts == ["Test image 17: bee, taken for cat", "Test image 400: cat, taken for bee"]


def test_without_a_profile_the_page_says_how_to_get_one() -> None:
    assert f"{COMMAND} --new_config --config.bench.profile=True" in rendered("a command")
    own = "python -m pipeline.main run --config=tiny.py --workdir=out/tiny --new_config --config.bench.profile=True"
    assert own in rendered("")


def test_a_failed_model_and_a_failed_measurement_are_told_apart() -> None:
    text = plain(Page(rendered("failures")).text)
    assert "1 model failed and is not in this release: what and why" in text
    assert "1 measurement failed ; the model is made all the same: what and why" in text
    assert "Without a figure on host: ptq: adb: device not found" in text


def test_why_a_target_has_no_figure_is_said() -> None:
    text = plain(Page(rendered("an emulated target")).text)
    assert "No model has a figure on board. Without a figure on board: ptq: noisy: emulated: aarch64 programs" in text
    assert "µs on board" not in text


def test_an_emulators_latency_is_no_figure_of_the_target(tmp_path: Path) -> None:
    plan = MODELS[1].plan
    config = replace(
        Config(),
        bench=replace(Config().bench, targets=("host", "pixel3", "raspberry_pi4", "host_compiled", "host_cpu")),
    )
    emulated = measured(9.0, "raspberry_pi4", "noisy: emulated: aarch64 programs")
    found = {
        "host": ("measurement.json", measured(50.0)),
        "pixel3": ("stage.json", {"summary": "pixel3 has no figure: fell back to CPU: the GPU takes nothing"}),
        "raspberry_pi4": ("measurement.json", replace(emulated, conditions={"emulated": "emulated: aarch64 programs"})),
        "host_compiled": ("failure.json", {"stage": "x", "reason": "no device"}),
        "host_cpu": ("measurement.json", measured(80.0, "host_cpu", "fell back to CPU: XNNPACK took no part")),
    }
    folders = {f"{plan.name}.bench.{target}": tmp_path / target for target in found}
    for target, (name, content) in found.items():
        (tmp_path / target).mkdir()
        (tmp_path / target / name).write_text(json.dumps(to_plain(content)))
    figures, without = read_measurements(config, plan, folders)
    assert [measurement.target.name for measurement in figures] == ["host"]
    assert [(failure.stage.rpartition(".")[2], failure.reason) for failure in without] == [
        ("pixel3", "pixel3 has no figure: fell back to CPU: the GPU takes nothing"),
        ("raspberry_pi4", "noisy: emulated: aarch64 programs"),
        ("host_cpu", "fell back to CPU: XNNPACK took no part"),
    ]


def test_links_in_a_store_lead_to_the_release_above() -> None:
    page = in_store(rendered(""))
    assert 'href="../tiny-pcqat.tflite"' in page and 'href="../manifest.json"' in page and RELEASE not in page


def test_waterfall_goes_from_the_parent_through_every_change_to_the_model() -> None:
    text = plain(rendered(""))
    plot = re.search(r'aria-label="Size of the .tflite: float32 200 kB, prune 50 %.*?</svg>', text, re.DOTALL)
    assert plot
    assert re.findall(r">([^<>]+)</text>", plot[0]) == [
        *("float32", "prune 50 %", "cluster 16", "QAT int8", "pcqat"),  # the rows
        *("200 kB", "−1.00 kB", "−1.00 kB", "−116 kB", "82.0 kB"),
    ]


def test_the_front_of_a_pareto_search_is_marked() -> None:
    """In the table; the plot shows no budget, which such a search does not have."""
    text = rendered("pareto")
    marked = re.findall(r'<tr id="trial-(\d+)"(?:(?!</tr>).)*>on the front<', text, re.DOTALL)
    assert marked == ["3", "4"]
    assert "budget of the search" in rendered("") and "budget of the search" not in text
    assert ">on the front<" in text and ">on the front<" not in rendered("")


def test_markup_in_names_is_shown_not_run() -> None:
    evil = '<script>alert("x")</script>'
    matrix = ((5, 1, 0), (0, 5, 1), (1, 0, 5))
    for names in ([evil, "a & b", "'quoted'"], [evil, *(f"<b>{i}</b>" for i in range(29))]):
        count = len(names)
        cells = matrix if count == 3 else tuple(tuple(5 if i == j else 1 for j in range(count)) for i in range(count))
        report = with_classes(names, cells)
        report = replace(report, command=evil, mistakes=tuple(replace(m, predicted=0) for m in MISTAKES))
        report = replace(report, failures=(Failure("w0.qat", "qat", evil, evil),), trials=(*TRIALS, failed(5, evil)))
        page = Page(page_of(replace(report, teacher={"arch": "", "file": evil, "val_accuracy": 0.9})))
        assert [tag for tag, _ in page.tags].count("script") == 1
        assert not [tag for tag, _ in page.tags if tag == "b"]
        assert page.text.count(evil) >= 7
        assert page.values("alt")[0].endswith(evil)


@pytest.mark.parametrize(
    ("edge", "finished"), [("macs", 4), ("one trial", 1), ("all but one failed", 1), ("wide costs", 5)]
)
def test_every_finished_trial_and_released_model_has_a_point_with_a_tooltip(edge: str, finished: int) -> None:
    text = rendered(edge)
    for name in ("wide", "narrow"):
        plot = re.search(rf'<div class="{name}"><svg.*?</svg>', text, re.DOTALL)
        assert plot
        points = re.findall(r'<a href="#([^"]+)" tabindex="-1"><title>([^<]+)</title>', plot[0])
        assert sorted({anchor for anchor, _ in points if anchor.startswith("model-")}) == sorted(
            f"model-{artifact.plan.name}" for artifact in MODELS if artifact.plan.recipe
        )
        assert len(points) == 2 * len({anchor for anchor, _ in points}), "a point each against latency and against size"
        points = list(dict(points).items())
        trials = [tooltip for anchor, tooltip in points if anchor.startswith("trial-")]
        assert len(trials) == finished and all(ARCH in html.unescape(tooltip) for tooltip in trials)


numbers = st.integers(1, 6).map(float)  # few values, so that ties are frequent


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12))
def test_front_holds_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    trials = [trial(i, accuracy / 10, cost) for i, (accuracy, cost) in enumerate(points)]

    def beats(a: Trial, b: Trial) -> bool:
        key_a, key_b = ((t.metrics["val_accuracy"], -t.metrics["latency_us"]) for t in (a, b))
        return key_a != key_b and key_a[0] >= key_b[0] and key_a[1] >= key_b[1]

    expected = {
        (t.metrics["latency_us"], t.metrics["val_accuracy"]) for t in trials if not any(beats(o, t) for o in trials)
    }
    front = report_trials.front(trials, lambda t: t.metrics["latency_us"])
    found = [(t.metrics["latency_us"], t.metrics["val_accuracy"]) for t in front]
    assert found == sorted(expected)


def test_best_is_full_integer_and_chosen_on_validation_images() -> None:
    ptq, pcqat = MODELS[1], MODELS[4]
    assert report_view.best(run()) is pcqat
    better_on_test = replace(ptq, validation={**ptq.validation, "tflite_accuracy": 0.999})
    assert report_view.best(run(artifacts=(MODELS[0], better_on_test, pcqat))) is pcqat
    equal = replace(ptq, val_accuracy=pcqat.val_accuracy, zipped_bytes=1)
    assert report_view.best(run(artifacts=(MODELS[0], pcqat, equal))) is equal


def test_steps_of_a_recipe() -> None:
    words = [name for name, _ in report_view.steps(run(), MODELS[4])]
    assert words == ["float32", "prune 50 %", "cluster 16", "QAT int8"]
    assert [name for name, _ in report_view.steps(run(), MODELS[1])] == ["float32", "full integer"]


def test_most_frequent_confusions() -> None:
    found = report_view.confused(((8, 2, 0), (0, 5, 0), (1, 2, 7)), NAMES, 2)
    assert [(c.actual, c.predicted, c.count, c.share) for c in found] == [
        ("ant", "bee", 2, 0.2),
        ("cat", "bee", 2, 0.2),
    ]


def test_config_file_repeats_the_run() -> None:
    config = Config(seed=7)
    config = replace(config, data=replace(config.data, name="npz:it's.npz", resolution=32))
    config = replace(
        config, compress=replace(config.compress, recipes=("ptq",)), teacher=replace(config.teacher, network=None)
    )
    scope: dict[str, Any] = {}
    exec(report_again.config_file(run(config=to_plain(config))), scope)
    assert validated(scope["get_config"]()) == config


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (report_units.number(1234.4), "1,234"),
        (report_units.number(99.96), "100"),
        (report_units.number(63.04), "63.0"),
        (report_units.number(-1.451), "−1.45"),
        (report_units.percent(0.9684, 1000), "96.8 %"),
        (report_units.percent(0.9684, 10_000), "96.84 %"),
        (report_units.points(-0.0051), "−0.5"),
        (report_units.points(0.00001), "0.0"),
        (report_units.size(62_954), "63.0 kB"),
        (report_units.size(14_000_000), "14.0 MB"),
        (report_units.latency(57.186), "57.2 µs"),
        (report_units.latency(12_345), "12.3 ms"),
        (report_units.count(1_451_272), "1.45M"),
        (report_units.duration(59.97), "1 min 0 s"),
        (report_units.duration(3661), "1 h 1 min"),
        (report_units.ratio(1.309), "1.31×"),
        (report_units.tiny(8.9e-9), "9e-09"),
        (report_units.growth(0.25), "+25 %"),
        (report_units.growth(-0.0123), "−1.2 %"),
        (report_units.growth(0.0), "0.0 %"),
        (report_units.signed(-117_300, report_units.size), "−117 kB"),
        (report_units.signed(0, report_units.size), "0.00 kB"),
    ],
)
def test_units(found: str, expected: str) -> None:
    assert plain(found) == expected
