"""Latency tables from planted latencies: what the blocks take is found, what disturbs it is not believed."""

from __future__ import annotations

import contextlib
import dataclasses
import random
from pathlib import Path

import pytest

from android_bench.latency_table.build import WHOLE_NETWORKS, build_and_test_table, build_table
from android_bench.latency_table.log import SESSIONS
from android_bench.latency_table.units import Unit, data_type_of, random_networks
from android_bench.session import FELL_BACK, NOISY, Concern, MeasurementError, Session, SessionPlan, TargetState
from android_bench.settings import BenchConfig
from core.errors import LitesmithError, UsageError
from core.values import Target
from deploy.errors import ConversionError
from search.arch import ArchSpec, BlockSpec, StageSpec
from search.choice import OneOf
from search.latency.blocks import BlockKey, blocks_of
from search.latency.reachable import distinct_blocks
from search.latency.table import read_latency_table, write_latency_table
from search.named import space as named_space
from search.space import SearchSpace

TARGET = Target("phone", kind="android", abi="arm64-v8a")
CONFIG = BenchConfig(processes=3)
FILE_US, NETWORK_US, FACTOR = 7.0, 50.0, 1.25


def tiny_space(kernels: tuple[int, ...] = (3, 5)) -> SearchSpace:
    """Blocks that can follow themselves and blocks that cannot."""
    kernel = OneOf(kernels, tie="kernel")
    blocks = (BlockSpec("ir", kernel_size=kernel, stride=2, expand_ratio=OneOf((2, 3)), out_channels=16),) + (
        BlockSpec("ir", kernel_size=kernel, expand_ratio=3, out_channels=16),
    ) * 2
    stage = StageSpec(blocks, OneOf((1, 2, 3)))
    return SearchSpace("tiny", ArchSpec(8, (stage,), 32, 1.0, 32, 10))


def planted_us(key: BlockKey) -> float:
    """Any latency that differs from key to key: 20 to 420 us."""
    return 20 + 400 * random.Random(key.text).random()


class PlantedRunner:
    """A device whose blocks take what was planted, whose files cost FILE_US more, and whose networks are slower by a
    factor and a constant. `made` maps a file's content to what it holds."""

    tool = "planted 1.0"

    def __init__(self, disturbed: dict[int, float] | None = None) -> None:
        self.runs: list[str] = []
        self.order: list[Path] = []
        self.disturbed = disturbed or {}
        self.concerns: tuple[Concern, ...] = ()
        self.die_after: int | None = None
        self.is_held = False
        self.parts: dict[str, tuple[Unit, int]] = {}

    def make_model(self, unit: Unit, copies: int, scheme: str) -> bytes:
        """A file that names its content."""
        text = f"{unit.name} {copies} {scheme}"
        self.parts[text] = unit, copies
        return text.encode()

    @contextlib.contextmanager
    def exclusive(self, target):
        self.is_held = True
        yield
        self.is_held = False

    def state(self, target) -> TargetState:
        return TargetState({"model": "Imaginary 3"}, tuple(c for c in self.concerns if c.kind == NOISY))

    def run(self, model_path: Path, target, plan: SessionPlan) -> Session:
        assert self.is_held
        if self.die_after is not None and len(self.order) >= self.die_after:
            raise KeyboardInterrupt
        unit, copies = self.parts[model_path.read_text()]
        self.order.append(model_path)
        factor = self.disturbed.get(len(self.order), 1.0)
        us = self.true_us(unit, copies) * factor
        concerns = tuple(c for c in self.concerns if c.kind == FELL_BACK)
        return Session((round(us * 1e3),) * 3, 0, concerns=concerns)

    @staticmethod
    def true_us(unit: Unit, copies: int) -> float:
        """What a file takes, in microseconds."""
        if isinstance(unit.part, BlockKey):
            return FILE_US + copies * planted_us(unit.part)
        return NETWORK_US + FACTOR * sum(planted_us(key) for key in blocks_of(unit.part, "int8"))


def built(folder: Path, runner: PlantedRunner, space: SearchSpace | None = None, **options):
    """A table of planted latencies."""
    options = {"scheme": "full_integer", "config": CONFIG, "seed": 3, "whole_networks": 6} | options
    scheme, config = options.pop("scheme"), options.pop("config")
    space = space or tiny_space()
    return build_table(space, scheme, TARGET, config, folder, runner=runner, make_model=runner.make_model, **options)


def test_planted_latencies_are_found_and_networks_predicted(tmp_path):
    space, runner = tiny_space(), PlantedRunner()
    table = built(tmp_path, runner)
    keys = distinct_blocks(space, "int8")
    assert [block.key for block in table.blocks] == [key.text for key in keys]
    for block, key in zip(table.blocks, keys, strict=True):
        # A session's durations are whole nanoseconds: a block is exact to 1 ns.
        assert block.median_us == pytest.approx(planted_us(key), abs=1e-3)
        assert block.low_us <= block.median_us <= block.high_us
        # Three runs a session, three sessions, and a second file of a block that can follow itself.
        assert block.runs in (9, 18)
    for arch in random_networks(space, 8, seed=9):
        expected = NETWORK_US + FACTOR * sum(planted_us(key) for key in blocks_of(arch, "int8"))
        assert table.predict(arch).latency_us == pytest.approx(expected, abs=0.1)  # 1 ns in the sums of two networks


def test_table_tells_target_tool_and_date_and_survives_the_file(tmp_path):
    table = built(tmp_path / "work", PlantedRunner())
    assert (table.space, table.data_type, table.tool) == ("tiny", "int8", "planted 1.0")
    assert table.target == {
        "name": "phone",
        "kind": "android",
        "abi": "arm64-v8a",
        "num_threads": "1",
        "delegate": "xnnpack",
        "model": "Imaginary 3",
        "verdict": "ok",
    }
    assert len(table.date.split("-")) == 3
    write_latency_table(tmp_path / "table.json", table)
    assert read_latency_table(tmp_path / "table.json") == table


def test_each_round_has_every_file_once_in_an_order_of_its_own(tmp_path):
    runner = PlantedRunner()
    built(tmp_path, runner)
    count = len(runner.parts)
    rounds = [runner.order[start : start + count] for start in range(0, 3 * count, count)]
    assert len(runner.order) == 3 * count
    assert all(len(set(one)) == count for one in rounds)
    assert rounds[0] != rounds[1] != rounds[2]


def test_block_whose_sessions_disagree_is_measured_again(tmp_path):
    runner = PlantedRunner(disturbed={5: 3.0})
    table = built(tmp_path, runner)
    count = len(runner.parts)
    assert 3 * count < len(runner.order) <= 3 * count + 6  # two files at most, three more sessions at most
    for block, key in zip(table.blocks, distinct_blocks(tiny_space(), "int8"), strict=True):
        assert block.median_us == pytest.approx(planted_us(key), abs=1e-3)


@pytest.mark.parametrize("killed_after", [0, 1, 7, 40])
def test_second_run_goes_on_where_the_first_was_killed(tmp_path, killed_after):
    whole = built(tmp_path / "whole", PlantedRunner())
    runner = PlantedRunner()
    runner.die_after = killed_after
    with pytest.raises(KeyboardInterrupt):
        built(tmp_path / "work", runner)
    with open(tmp_path / "work" / SESSIONS, "ab") as file:
        file.write(b'{"timings": {"torn')  # the line that a kill left
    runner.die_after = None
    assert built(tmp_path / "work", runner).blocks == whole.blocks
    # At most the unit under way, of two files, is measured twice.
    assert len(runner.order) <= 3 * len(runner.parts) + 1


def test_models_are_made_once(tmp_path):
    runner = PlantedRunner()
    built(tmp_path, runner)
    made = []

    def again(unit, copies, scheme):
        made.append(unit)
        return b""

    runner.make_model = again
    built_again = built(tmp_path, runner)
    assert not made
    assert built_again.blocks == built(tmp_path, runner).blocks


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scheme": "float32"}, "scheme"),
        ({"seed": 4}, "seed"),
        ({"space": tiny_space((3, 7))}, "space"),
        ({"config": BenchConfig(processes=4)}, "sessions"),
    ],
)
def test_folder_of_another_table_is_refused(tmp_path, change, named):
    runner = PlantedRunner()
    built(tmp_path, runner)
    before = len(runner.order)
    with pytest.raises(UsageError, match=f"was begun with {named} = .* delete the folder"):
        built(tmp_path, runner, **change)
    assert len(runner.order) == before


def test_scheme_without_a_table_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--scheme: 'float16' is not legal; expected one of float32, full_integer"):
        built(tmp_path / "work", PlantedRunner(), scheme="float16")
    assert not (tmp_path / "work").exists()
    assert data_type_of("float32") == "float32"


def test_space_of_too_many_blocks_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(UsageError, match="nasbench201"):
        built(tmp_path / "work", PlantedRunner(), named_space("nasbench201", 32, 10))
    assert not (tmp_path / "work").exists()


def test_figure_that_is_not_the_delegates_is_refused(tmp_path):
    runner = PlantedRunner()
    runner.concerns = (Concern(FELL_BACK, "GPU took no part"),)
    with pytest.raises(MeasurementError, match=r"_c8.*: phone: fell back to CPU: GPU took no part"):
        built(tmp_path, runner)


def test_unfit_target_is_told_in_the_table(tmp_path):
    runner = PlantedRunner()
    runner.concerns = (Concern(NOISY, "core 0 was busy"),)
    assert built(tmp_path, runner).target["verdict"] == "noisy: core 0 was busy"


def test_block_that_cannot_be_converted_is_named_and_nothing_is_measured(tmp_path):
    runner = PlantedRunner()

    def make_model(unit, copies, scheme):
        raise ConversionError("network: cannot be converted")

    runner.make_model = make_model
    with pytest.raises(ConversionError, match=r"^int8 32x32x3 stem_s2_c8: network: cannot be converted$"):
        built(tmp_path, runner)
    assert not runner.order


def test_block_that_never_settles_is_told_in_the_table(tmp_path):
    runner = PlantedRunner(disturbed=dict.fromkeys(range(1, 1000, 2), 3.0))
    verdict = built(tmp_path, runner).target["verdict"]
    assert verdict.startswith("noisy: sessions of ")
    assert verdict.endswith("blocks disagree")
    assert len(runner.order) <= 6 * len(runner.parts)  # twice the three sessions, and no more


def test_random_networks_differ_and_leave_out_what_is_known():
    space = tiny_space()
    first = random_networks(space, 5, seed=1)
    assert len(set(first)) == 5
    assert first == random_networks(space, 5, seed=1)
    assert not set(first) & set(random_networks(space, 5, seed=1, without=first))


def test_more_networks_than_the_space_has_are_refused():
    with pytest.raises(LitesmithError, match="at most 12 in space tiny"):
        random_networks(tiny_space(), 13, seed=1)


def test_other_networks_are_measured_with_a_table_and_do_not_change_it(tmp_path):
    runner = PlantedRunner(disturbed={2: 2.0})
    space = tiny_space()
    tested = random_networks(space, 3, seed=2)
    table, measured = build_and_test_table(
        *(space, "full_integer", TARGET, CONFIG, tmp_path, tested),
        runner=runner,
        make_model=runner.make_model,
    )
    assert table.overhead.networks == WHOLE_NETWORKS
    assert [arch for arch, _ in measured] == list(tested)
    for arch, us in measured:
        assert us == pytest.approx(PlantedRunner.true_us(Unit(arch), 1), abs=1e-3)  # whole nanoseconds


def test_units_of_different_parts_have_different_names():
    keys = distinct_blocks(tiny_space(), "int8")
    units = [Unit(key) for key in (*keys, *distinct_blocks(tiny_space(), "float32"))]
    assert len({unit.name for unit in units}) == len(units)
    assert Unit(keys[0]).name == Unit(dataclasses.replace(keys[0])).name
