"""docs/compression.md tells the recipes that exist, and its figures have a place."""

from __future__ import annotations

import re

from benchmarks.compression import BEGIN, END
from compress.distill_config import DistillConfig
from compress.recipe import CONTRADICTIONS, RANKS, CompressConfig
from search.settings import SearchConfig, TrainConfig
from tests.tree import ROOT

TEXT = (ROOT / "docs" / "compression.md").read_text(encoding="utf-8")


def test_every_word_of_a_recipe_is_explained() -> None:
    passes = re.findall(r"^### (.*)$", TEXT, re.MULTILINE)
    endings = re.findall(r"^\| (`.*?) \|", TEXT.partition("### Endings")[2].partition("\n## ")[0], re.MULTILINE)
    words = set(re.findall(r"`(\w+)", " ".join([*passes, *endings])))
    assert words == set(RANKS)


def test_the_orders_are_the_recipes_own() -> None:
    orders = TEXT.partition("## Orders")[2].partition("\n## ")[0]
    found = set()
    for first, others in re.findall(r"^- `(\w+)` and (.*?): ", orders, re.MULTILINE):
        found |= {(first, word) for word in re.findall(r"`(\w+)`", others)}
    assert found == set(CONTRADICTIONS)
    chain = re.findall(r"`(\w+)`", orders.partition("\n\n")[2].partition("\n\n")[0].partition("\n\n")[0])
    assert [RANKS[word] for word in chain] == sorted(RANKS[word] for word in chain)


def test_settings_that_it_names_exist() -> None:
    sections = {"compress": CompressConfig, "search": SearchConfig, "train": TrainConfig, "distill": DistillConfig}
    for section, name in re.findall(r"config\.(\w+)\.(\w+)", TEXT):
        assert name in sections[section].__dataclass_fields__, f"config.{section}.{name}"


def test_the_figures_have_a_place() -> None:
    assert TEXT.count(BEGIN) == TEXT.count(END) == 1
    assert TEXT.index(BEGIN) < TEXT.index(END)
