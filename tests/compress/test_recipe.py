from __future__ import annotations

import json
import subprocess
import sys

import pytest

from compress.recipe import (
    ClusterSettings,
    CompressConfig,
    DistillConfig,
    PassSpec,
    PruneSettings,
    QuantizeSettings,
    parse_recipe,
)
from core.errors import UsageError
from core.spec_io import content_id, from_plain, to_plain

CONFIG = CompressConfig()
PRUNE = PassSpec("prune", PruneSettings(0.0, 0.5, ()))
CLUSTER = PassSpec("cluster", ClusterSettings(16, ()))
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


def test_pass_id_depends_on_its_settings_only() -> None:
    first, second = parse_recipe("prune+ptq", CONFIG).passes[0], parse_recipe("pcqat", CONFIG).passes[0]
    assert content_id(first) == content_id(second)
    assert content_id(first) != content_id(parse_recipe("prune:0.6", CONFIG).passes[0])


@pytest.mark.parametrize("spec", [PRUNE, CLUSTER, QUANTIZE])
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
    assert "legal: prune[:SPARSITY] + cluster[:NUMBER]" in message or "expected a number from" in message


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
    ],
)
def test_bad_setting_names_its_key(change: dict[str, object], where: str) -> None:
    with pytest.raises(UsageError, match=f"^{where}: "):
        CompressConfig(**change)


@pytest.mark.parametrize("change", [{"temperature": 0.0}, {"alpha": 1.5}])
def test_bad_distillation_names_its_key(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=rf"^config\.distill\.{next(iter(change))}: "):
        DistillConfig(**change)


def test_recipe_module_needs_no_tensorflow() -> None:
    code = "import sys, compress.recipe, compress.invariants, compress.teacher, compress.passes; " + (
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
