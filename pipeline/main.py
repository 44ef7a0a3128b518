"""The command line: `python -m pipeline.main COMMAND --config=FILE --workdir=DIR [--config.KEY=VALUE ...]`.

The commands of a run do a part of the pipeline; each goes on where an earlier run of the same folder stands. The others
are in pipeline.commands. Exit codes: 0 done, 1 failed, 2 bad usage or input.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections.config_flags import config_flags

from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, UsageError, bad_value, one_line, one_of, run_command
from core.progress import Reporter
from core.registry import load
from core.spec_io import to_plain
from pipeline import flag_table
from pipeline.call import Call
from pipeline.closing import closing_lines
from pipeline.commands import COMMANDS
from pipeline.config import MODEL_FILE, Config, validated
from pipeline.overrides import normalized, unset
from pipeline.plan import COMMANDS as RUN_COMMANDS
from pipeline.planning import checked_plan
from pipeline.reproduction import command_line
from pipeline.runner import run_stages
from pipeline.status import plan_json, show_plan
from pipeline.usage import USAGE
from pipeline.workdir import Workdir

HELP_FLAGS = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull", "help")

# The flags of a model of the user's, with the key that each sets.
MODEL_FLAGS = {
    "model": "model.file",
    "data": "data.name",
    "input_range": "model.input_range",
    "allow_custom": "model.allow_custom",
}
CONFIGS = Path(__file__).parents[1] / "configs"
MODEL_CONFIG, BENCHMARK_CONFIG = CONFIGS / "own_model.py", CONFIGS / "benchmark.py"
# Commands that need a configuration only for what overrides it.
WITH_DEFAULTS = ("benchmark", "latency_table")

FLAGS = flags.FLAGS


def define_flags(argv: Sequence[str], flag_values: flags.FlagValues = FLAGS) -> None:
    """Registers our flags; `argv` is where config_flags looks for the overrides."""
    config_flags.DEFINE_config_file("config", None, "configuration file", flag_values=flag_values, sys_argv=list(argv))
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=flag_values)
    flags.DEFINE_bool("dry_run", False, "show the plan and stop", flag_values=flag_values)
    flags.DEFINE_multi_string("unset", [], "keys to set to None (made of KEY=None)", flag_values=flag_values)
    flags.DEFINE_bool("new_config", False, "go on with another configuration", flag_values=flag_values)
    flag_table.define(flag_values)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's flag parser with our exit codes: help ends with 0 and a bad flag with 2 (absl's own ends with 1)."""
    if len(argv) < 2 or any(argument in HELP_FLAGS for argument in argv[1:]):
        print(USAGE)
        sys.exit(EXIT_DONE if len(argv) >= 2 else EXIT_USAGE)
    try:
        arguments = normalized(_with_default_config(argv))
        define_flags(arguments)
        return list(FLAGS(arguments))
    except UsageError as error:
        _exit_usage(str(error))
    except Exception as error:  # config_flags runs the file, which may raise anything
        _exit_usage(_flag_message(error) if isinstance(error, flags.Error) else f"--config: {one_line(error)}")
    raise AssertionError("unreachable")


def _with_default_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with a configuration if none is named and there is one for the command or for a run's --model."""

    def given(name: str) -> bool:
        return any(re.match(rf"--?{name}(=|$)", argument) for argument in argv[1:])

    of_model = given("model") and not set(argv[1:]).isdisjoint(RUN_COMMANDS)  # that of `pull` is a release's
    default = BENCHMARK_CONFIG if argv[1] in WITH_DEFAULTS else MODEL_CONFIG if of_model else None
    if default is None or given("config"):
        return list(argv)
    return [argv[0], f"--config={default}", *argv[1:]]  # overrides come after what they override


def main(argv: Sequence[str]) -> int:
    """Runs the command; every error ends in one line on stderr and its exit code."""
    return run_command(lambda: _dispatch(argv))


def _dispatch(argv: Sequence[str]) -> int:
    commands = (*RUN_COMMANDS, *COMMANDS)
    if len(argv) < 2:
        raise UsageError(f"expected one command, got none; legal are {', '.join(commands)}")
    command = argv[1]
    if command not in commands:
        raise bad_value("command", command, one_of(commands))
    given = flag_table.given(FLAGS)
    flag_table.check(command, (*given, *flag_table.given_of_runs(FLAGS)))
    has_config, has_workdir = FLAGS["config"].value is not None, bool(FLAGS.workdir)
    call = Call(tuple(argv[2:]), given, _config, _workdir, has_config, has_workdir, _reproduction(command, given))
    if command in COMMANDS:
        return int(load(COMMANDS, command, "command")(call))
    if len(argv) != 2:
        raise UsageError(f"expected one command, got {' '.join(argv[1:])}; legal are {', '.join(commands)}")
    _check_model_flags(call)
    return _run(command, call)


def _check_model_flags(call: Call) -> None:
    given = [name for name in MODEL_FLAGS if name in call.flags]
    if given and FLAGS.model is None:
        raise UsageError(f"--{given[0]}: goes with --model; without it, a configuration says so: --config.KEY=VALUE")


def _workdir() -> Path:
    if not FLAGS.workdir and FLAGS.model:
        return Path("out") / Path(FLAGS.model).stem
    if not FLAGS.workdir:
        raise UsageError("--workdir: missing; expected a folder for what the run makes")
    return Path(FLAGS.workdir)


def _config() -> Config:
    if FLAGS["config"].value is None:
        raise UsageError("--config: missing; expected a Python file like those in configs/")
    path = Path(FLAGS["config"].config_filename.partition(":")[0])
    if not path.is_file():
        raise UsageError(f"--config: {path} is not there; expected a Python file like those in configs/")
    unset(FLAGS.config, FLAGS.unset)
    for name, key in MODEL_FLAGS.items():
        if FLAGS[name].present:
            section, _, entry = key.partition(".")
            FLAGS.config[section][entry] = FLAGS[name].value
    return validated(FLAGS.config)


def _run(command: str, call: Call) -> int:
    if call.flags.get("json") and not FLAGS.dry_run:
        raise UsageError(f"--json: {command} takes it with --dry_run only; `status --json` tells of what was run")
    workdir = call.workdir()
    config, folder = call.config(), Workdir(workdir)
    folder.check(config, FLAGS.new_config)
    if config.model.file is not None:
        if command == "search":
            raise UsageError(f"{MODEL_FILE}: {config.model.file!r} is compressed, nothing is searched; use compress")
        command = "run" if command == "compress" else command
    plan = checked_plan(config, command=call.reproduction)
    stages = plan.for_command(command)
    reporter = Reporter()
    if FLAGS.dry_run and call.flags.get("json"):
        print(json.dumps(plan_json(stages, workdir, to_plain(config.release)), indent=2))
        return EXIT_DONE
    if FLAGS.dry_run:
        show_plan(stages, workdir, reporter)
        return EXIT_DONE
    with _stored_code(config):
        failed = run_stages(stages, plan, config, folder, reporter, FLAGS.new_config, call.connections())
    if command == "run":
        for line in closing_lines(workdir):
            reporter.line(line)
    for line in failed:
        print(f"litesmith: {line}", file=sys.stderr)
    published = _publish(config, workdir, reporter) if command == "run" else EXIT_DONE
    return EXIT_FAILED if failed else published


def _publish(config: Config, workdir: Path, reporter: Reporter) -> int:
    """Publishes what the run has made, if the configuration names a store."""
    if config.release.store is None:
        return EXIT_DONE
    from pipeline.publish import publish_run

    release = config.release
    return publish_run(
        workdir, config.release.store, release.channel, release.sign_key, release.allow_regression, reporter
    )


def _reproduction(command: str, given: dict[str, Any]) -> str:
    """The command line that makes the same again, files and folders as the user named them; of a run, all of it."""
    flag = FLAGS["config"]
    if flag.value is None:
        return ""
    is_default = FLAGS.model and flag.config_filename == str(MODEL_CONFIG)
    overrides = {**flag.override_values, **dict.fromkeys(FLAGS.unset)}
    return command_line(
        "run" if command in RUN_COMMANDS else command,
        "" if is_default else flag.config_filename,
        overrides,
        given,
        FLAGS.workdir or "",
        given.get("out", ""),
    )


def _stored_code(config: Config) -> AbstractContextManager[None]:
    """Lets every stage, also of a run that goes on, load the custom code that the user has allowed."""
    if not config.model.allow_custom:
        return contextlib.nullcontext()
    from compress.storage import stored_code

    return stored_code(True)


def _flag_message(error: flags.Error) -> str:
    """absl's message, with Python's wording for a value that does not parse put as what is legal."""
    text = re.sub(r"invalid literal for int\(\) with base 10: .*", "expected a whole number", str(error))
    text = re.sub(r"\('Non-boolean argument to boolean flag', .*\)", "expected True or False", text)
    return re.sub(r"could not convert string to float: .*", "expected a number", text)


def _exit_usage(message: str) -> None:
    print(f"litesmith: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def run_main() -> None:
    """The entry point of the binary."""
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=parse_flags)


if __name__ == "__main__":
    run_main()
