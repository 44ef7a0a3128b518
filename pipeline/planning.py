"""A configuration's plan, after everything that can be checked before anything runs."""

from __future__ import annotations

import functools

from android_bench.targets import resolve_target
from pipeline.config import MODEL_FILE, Config, check_mixture
from pipeline.plan import Extraction, Plan, make_plan
from pipeline.previous import find_previous
from pipeline.supernet_record import searched_space
from search.named import DEFAULT_CLASSES, DEFAULT_RESOLUTION
from search.settings import SUPERNET
from search.supernet.methods import check_space


def checked_plan(config: Config, extraction: Extraction | None = None, command: str = "") -> Plan:
    """The plan of a run, or of the extraction of one network; `command` is the command line that makes it again.

    Raises UsageError for files, targets, data and a release store that are not there or cannot be used, and for a
    space whose networks cannot share weights; LitesmithError for a store that cannot be read.
    """
    from compress.importing.check import check_user_model
    from pipeline.data import fingerprint

    teacher = model = ""
    if config.model.file is not None:
        model = check_user_model(config.model.file, allow_custom=config.model.allow_custom, where=MODEL_FILE)
    elif config.teacher.file is not None:
        teacher = check_user_model(config.teacher.file, allow_custom=False, where="config.teacher.file")
    if config.release.metadata:
        from deploy.metadata import find_interpreter

        find_interpreter()
    for name in config.bench.targets:
        resolve_target(name, config.bench)
    if extraction is None:
        check_mixture(config)
    if config.search.evaluator == SUPERNET:
        resolution = config.data.resolution or DEFAULT_RESOLUTION  # any will do: what is checked are operators
        named_space = searched_space(config.search.space, config.supernet, resolution, DEFAULT_CLASSES)
        check_space(config.supernet, named_space)
    previous = functools.partial(find_previous, config.release) if config.release.store is not None else None
    return make_plan(config, fingerprint(config.data), teacher, model, extraction, previous, command)
