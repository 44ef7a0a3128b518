from __future__ import annotations

import json
import subprocess
import sys

import pytest

from compress.distill_config import DistillConfig
from compress.recipe import CONTRADICTIONS, RANKS, CompressConfig, parse_recipe
from compress.settings import (
    ClusterSettings,
    LowRankSettings,
    PassSpec,
    PruneSettings,
    QuantizeSettings,
    ShareSettings,
    StructuredSettings,
    value_for,
)
from core.errors import UsageError
from core.spec_io import content_id, from_plain, to_plain

CONFIG = CompressConfig()
PRUNE = PassSpec("prune", PruneSettings(0.0, 0.5, ()))
CLUSTER = PassSpec("cluster", ClusterSettings(16, ()))
PATTERN = PassSpec("prune", PruneSettings(0.0, 0.5, pattern="2:4", schedule="constant"))
QUANTIZE = PassSpec("quantize", QuantizeSettings())


@pytest.mark.parametrize(
    ("text", "passes", "scheme"),
    [
        ("float32", (), "float32"),
        ("float16", (), "float16"),
        ("dynamic_range", (), "dynamic_range"),
        ("ptq", (), "full_integer"),
        ("qat", (QUANTIZE,), "full_integer"),
        ("prune", (PRUNE,), "float32"),
        ("cluster+float16", (CLUSTER,), "float16"),
        ("prune+ptq", (PRUNE,), "full_integer"),
        ("prune+cluster+dynamic_range", (PRUNE, CLUSTER), "dynamic_range"),
        ("pqat", (PRUNE, QUANTIZE), "full_integer"),
        ("cqat", (CLUSTER, QUANTIZE), "full_integer"),
        ("pcqat", (PRUNE, CLUSTER, QUANTIZE), "full_integer"),
        ("prune+cqat", (PRUNE, CLUSTER, QUANTIZE), "full_integer"),
        ("structured:0.6+mixed", (PassSpec("structured_prune", StructuredSettings(0.6)),), "mixed"),
        ("low_rank+int8_weights", (PassSpec("low_rank", LowRankSettings(0.5, "params")),), "int8_weights"),
        ("share+int4_weights", (PassSpec("share", ShareSettings()),), "int4_weights"),
        ("sparse:0.8", (PassSpec("prune", PruneSettings(0.0, 0.8, policy="xnnpack")),), "float32"),
        ("prune:2:4+qat", (PATTERN, QUANTIZE), "full_integer"),
    ],
)
def test_recipe_means_passes_and_scheme(text: str, passes: tuple[PassSpec, ...], scheme: str) -> None:
    recipe = parse_recipe(text, CONFIG)
    assert (recipe.name, recipe.passes, recipe.scheme) == (text, passes, scheme)


def test_settings_come_from_the_recipe_then_the_config() -> None:
    config = CompressConfig(initial_sparsity=0.2, final_sparsity=0.6, number_of_clusters=32, exclude=("stem_*",))
    own = parse_recipe("prune:0.7+cluster:8+qat", config).passes
    assert own[0].settings == PruneSettings(0.2, 0.7, ("stem_*",))
    assert own[1].settings == ClusterSettings(8, ("stem_*",))
    assert parse_recipe("prune", config).passes[0].settings == PruneSettings(0.2, 0.6, ("stem_*",))


def test_rounds_of_structured_pruning_have_the_fraction_as_their_product() -> None:
    config = CompressConfig(structured_rounds=3, structured_importance="l1", structured_blocks=True)
    passes = parse_recipe("structured:0.5+qat", config).passes
    assert [spec.name for spec in passes] == ["structured_prune"] * 3 + ["quantize"]
    assert passes[0].settings == StructuredSettings(0.5 ** (1 / 3), importance="l1", blocks=True)


def test_layers_have_their_own_numbers() -> None:
    config = CompressConfig(layer_sparsity=("s0_*=0.2", "*=0.9"), layer_clusters=("logits=64",))
    prune, cluster = (spec.settings for spec in parse_recipe("prune+cluster", config).passes)
    assert isinstance(prune, PruneSettings)
    assert isinstance(cluster, ClusterSettings)
    assert [value_for(name, prune.layers, 0.5) for name in ("s0_b0_dw", "logits")] == [0.2, 0.9]
    assert [value_for(name, cluster.layers, 16) for name in ("s0_b0_dw", "logits")] == [16, 64]


def test_sparse_kernels_need_two_thirds_of_zeros() -> None:
    with pytest.raises(UsageError, match=r"part 1 \('sparse:0.6'\).*from 0.67 to 0.99"):
        parse_recipe("sparse:0.6", CONFIG)


@pytest.mark.parametrize(("final_sparsity", "found"), [(0.5, 0.8), (0.7, 0.7), (0.9, 0.9)])
def test_sparse_without_a_number_is_legal(final_sparsity: float, found: float) -> None:
    (spec,) = parse_recipe("sparse", CompressConfig(final_sparsity=final_sparsity)).passes
    assert isinstance(spec.settings, PruneSettings)
    assert spec.settings.final_sparsity == found


def test_settings_that_leave_a_layer_too_few_zeros_contradict_sparse() -> None:
    with pytest.raises(UsageError, match=r"part 1 \('sparse'\): config.compress.prune_scope 'global' .* 'layer'$"):
        CompressConfig(recipes=("sparse",), prune_scope="global")
    with pytest.raises(UsageError, match=r"part 1 .*config.compress.layer_sparsity: 'b\*=0.5' .* from 0.67 to 0.99"):
        CompressConfig(recipes=("sparse+float16",), layer_sparsity=("a*=0.7", "b*=0.5"))
    assert CompressConfig(recipes=("sparse",), layer_sparsity=("a*=0.7",))


def test_every_pair_of_words_is_legal_or_refused_with_a_reason() -> None:
    config = CompressConfig(final_sparsity=0.7)
    for first, rank in RANKS.items():
        for second, later in RANKS.items():
            text = f"{first}+{second}"
            if rank < later and (first, second) not in CONTRADICTIONS:
                assert parse_recipe(text, config).passes
            else:
                with pytest.raises(UsageError, match=f"{second!r} cannot come after {first!r}"):
                    parse_recipe(text, config)


def test_pattern_excludes_other_sparsities() -> None:
    with pytest.raises(UsageError, match="prune_scope must be 'layer'"):
        CompressConfig(recipes=("prune:2:4",), prune_scope="global")


def test_pass_id_depends_on_its_settings_only() -> None:
    first, second = parse_recipe("prune+ptq", CONFIG).passes[0], parse_recipe("pcqat", CONFIG).passes[0]
    assert content_id(first) == content_id(second)
    assert content_id(first) != content_id(parse_recipe("prune:0.6", CONFIG).passes[0])


@pytest.mark.parametrize("spec", [PRUNE, CLUSTER, QUANTIZE, PATTERN, PassSpec("share", ShareSettings())])
def test_pass_survives_json(spec: PassSpec) -> None:
    assert from_plain(PassSpec, json.loads(json.dumps(to_plain(spec)))) == spec


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("cluster+prune", "part 2 ('prune')"),
        ("qat+prune", "part 2 ('prune')"),
        ("prune+prune:0.7", "part 2 ('prune:0.7')"),
        ("ptq+qat", "part 2 ('qat')"),
        ("pqat+qat", "part 2 ('qat')"),
        ("prune+distil", "part 2 ('distil')"),
        ("", "part 1 ('')"),
        ("prune+", "part 2 ('')"),
        ("prune:1.0+qat", "part 1 ('prune:1.0')"),
        ("prune:nan", "part 1 ('prune:nan')"),
        ("prune:half", "part 1 ('prune:half')"),
        ("prune:4:2", "part 1 ('prune:4:2')"),
        ("sparse:2:4", "part 1 ('sparse:2:4')"),
        ("structured:1", "part 1 ('structured:1')"),
        ("share:2", "part 1 ('share:2')"),
        ("prune:", "part 1 ('prune:')"),
        ("prune+cluster:2", "part 2 ('cluster:2')"),
        ("cluster:8.5", "part 1 ('cluster:8.5')"),
        ("qat:8", "part 1 ('qat:8')"),
        ("pcqat:0.5", "part 1 ('pcqat:0.5')"),
        ("Prune", "part 1 ('Prune')"),
    ],
)
def test_bad_recipe_is_one_line_that_names_the_place(text: str, named: str) -> None:
    with pytest.raises(UsageError) as error:
        CompressConfig(recipes=("ptq", text))
    message = str(error.value)
    assert message.startswith(f"config.compress.recipes: {text!r}, {named}")
    assert "\n" not in message
    assert "legal: structured[:FRACTION] + " in message or "expected a number from" in message or "M:N with" in message


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"epochs": 0}, "config.compress.epochs"),
        ({"batch_size": 0}, "config.compress.batch_size"),
        ({"learning_rate": 0.0}, "config.compress.learning_rate"),
        ({"final_sparsity": 1.0}, "config.compress.final_sparsity"),
        ({"initial_sparsity": 0.6}, "config.compress.initial_sparsity"),
        ({"number_of_clusters": 2}, "config.compress.number_of_clusters"),
        ({"recipes": ("ptq", "ptq")}, "config.compress.recipes"),
        ({"structured_fraction": 1.0}, "config.compress.structured_fraction"),
        ({"structured_metric": "flops"}, "config.compress.structured_metric"),
        ({"low_rank_by": "rank"}, "config.compress.low_rank_by"),
        ({"prune_scope": "model"}, "config.compress.prune_scope"),
        ({"layer_sparsity": ("0.5",)}, "config.compress.layer_sparsity"),
        ({"layer_clusters": ("stem=2.5",)}, "config.compress.layer_clusters"),
    ],
)
def test_bad_setting_names_its_key(change: dict[str, object], where: str) -> None:
    with pytest.raises(UsageError, match=f"^{where}: "):
        CompressConfig(**change)


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"alpha": 1.5}, {"features": "all"}, {"teacher": "me"}])
def test_bad_distillation_names_its_key(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=rf"^config\.distill\.{next(iter(change))}: "):
        DistillConfig(**change)


def test_recipe_module_needs_no_tensorflow() -> None:
    code = "import sys, compress.recipe, compress.invariants, compress.teacher, compress.passes; " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
