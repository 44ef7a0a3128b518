"""docs/search.md names the strategies that exist, and its figures have a place."""

from __future__ import annotations

import re

import pytest

from benchmarks.search_results import BEGIN, END
from search.oracles import ORACLES
from search.settings import PROXIES, SearchConfig
from tests.tree import ROOT

TEXT = (ROOT / "docs" / "search.md").read_text(encoding="utf-8")


def test_each_strategy_has_its_section_and_no_other_has():
    sections = re.findall(r"^### `(\w+)`$", TEXT, re.MULTILINE)
    assert sorted(sections) == sorted(ORACLES)


def test_the_choice_names_strategies_alone():
    """In "Which one?" every name in backquotes is a strategy, but for the settings."""
    start, _, rest = TEXT.partition("## Which one?")
    choice = rest.partition("\n## ")[0]
    names = set(re.findall(r"`(\w+)`", choice))
    assert start and names and names <= set(ORACLES)
    assert names == set(ORACLES), "a strategy is missing from the choice"


def test_settings_that_it_names_exist():
    names = set(re.findall(r"`config\.search\.(\w+)", TEXT))
    assert names and names <= set(SearchConfig.__dataclass_fields__)


@pytest.mark.parametrize("name", PROXIES)
def test_proxies_are_named(name):
    assert f"`{name}`" in TEXT


def test_the_figures_have_a_place():
    assert TEXT.count(BEGIN) == TEXT.count(END) == 1
    assert TEXT.index(BEGIN) < TEXT.index(END)


def test_links_to_files_lead_somewhere():
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in target]
    assert targets and all((ROOT / "docs" / target).exists() for target in targets)
