"""Stage "found_recipe": a winner of a joint search, compressed by the recipe that the search found for it."""

from __future__ import annotations

from compress.recipe import CompressConfig, parse_recipe
from compress.storage import load_model, save_model
from core.workspace import atomic_write_json
from pipeline.data import load
from pipeline.node import read_node
from pipeline.runner import Outcome, StageContext
from pipeline.stages.compression_pass import compress
from pipeline.stages.models import winner


def run(context: StageContext) -> Outcome:
    """Saves the compressed model with what it promises. Raises InvariantError if a promise is broken."""
    config: CompressConfig = context.params["compress"]
    trial = winner(context.input("search"), context.params["winner"])
    recipe = parse_recipe(trial.recipe, config)
    data = load(context.input("data"))
    parent = context.input("float")
    record, model = read_node(parent), load_model(parent / "model")
    for number, spec in enumerate(recipe.passes):
        record, result = compress(context, spec, record, model, data, config.train_config(), f"pass{number}")
        model = result.model
    save_model(model, context.out / "model")
    record = record.found(recipe.name, recipe.scheme, tuple(spec.label for spec in recipe.passes))
    atomic_write_json(context.out / "node.json", record)
    return Outcome(f"{recipe.name}: validation accuracy {100 * record.val_accuracy:.2f} %")
