"""The command line: `python -m pipeline.main COMMAND --config=FILE --workdir=DIR [--config.KEY=VALUE ...]`.

Commands run a part of the pipeline or tell about one; each goes on where an earlier run of the same folder stands.
`describe` and `scale` are about networks. Exit codes: 0 done, 1 failed, 2 bad usage or input.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections.config_flags import config_flags

from android_bench.targets import resolve_target
from core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USAGE, LitesmithError, UsageError, bad_value, one_line, one_of
from core.progress import Reporter
from pipeline.closing import closing_lines
from pipeline.config import MODEL_FILE, Config, validated
from pipeline.overrides import normalized, unset
from pipeline.plan import COMMANDS, Plan, make_plan
from pipeline.runner import run_stages
from pipeline.status import show_plan, show_status
from pipeline.workdir import Workdir

USAGE = """\
usage: python -m pipeline.main COMMAND --config=FILE --workdir=DIR [--config.KEY=VALUE ...] [--dry_run]
       python -m pipeline.main compress --model=FILE --data=NAME [--workdir=DIR] [--config.KEY=VALUE ...]
       python -m pipeline.main describe ARCH_OR_NAME [--resolution=N] [--num_classes=N] [--width_multiplier=X]
       python -m pipeline.main scale --arch=ARCH_OR_NAME --max_macs=N [--alpha=X --beta=X --gamma=X]

  run       everything: data, search, teacher, training, compression, conversion, checks, benchmark, report, release
  search    only the architecture search
  compress  up to the compressed Keras models; with --model everything, for a Keras model of yours
  convert   up to the converted and validated .tflite files
  bench     up to the latency measurements
  report    up to WORKDIR/report/index.html
  status    what is done and what is to do in WORKDIR; needs no --config
  describe  a network or search space as a page: blocks, shapes, parameters, MACs, memory; ARCH_OR_NAME is a name
            (mobilenet_v2, space:mobilenet_v2) or a network's text in quotes
  scale     compound scaling of a network to a budget; with --config and --workdir alpha, beta and gamma are first found
            by training (grid search), and without --arch it is the best network of the workdir's search

  --config         a Python file like those in configs/; each key can be overridden: --config.search.max_trials=20
  --workdir        the folder that holds everything the run makes; the same command again resumes there
  --dry_run        show the stages, their keys and what is done, and stop
  --model          a .keras (Keras 2 or 3) or .h5 file or a SavedModel's folder, compressed in place of a searched
                   network; --config is then configs/own_model.py, and --workdir out/ and the file's name
  --data           the images to fine-tune and to test it on: mnist_5k, directory:PATH, npz:FILE, ... (config.data.name)
  --input_range    of the images that it was trained on: 0..1 (the default), 0..255 or -1..1
  --allow_custom   load its Lambda layers and custom objects, which runs code that is in the file
  --new_config     let --workdir go on with a configuration other than the one it was begun with
  --resolution, --num_classes, --width_multiplier
                   of the network to describe (or, without the last, to scale); by default as it was published
  --arch           the network to scale, a name or a text
  --max_macs, --max_latency_us
                   the budget; a latency, which is measured, needs --config and --workdir
  --alpha, --beta, --gamma
                   growth of depth, width and resolution; by default EfficientNet's 1.2, 1.1, 1.15
  --grid_step      step of the grid search, by default 0.1

exit codes: 0 done, 1 failed, 2 bad usage or input"""

HELP_FLAGS = ("--help", "-help", "-h", "-?", "--helpshort", "--helpfull", "help")

# The flags that only these commands take.
NETWORK_FLAGS: dict[str, tuple[str, ...]] = {
    "describe": ("resolution", "num_classes", "width_multiplier"),
    "scale": (
        *("arch", "max_macs", "max_latency_us", "alpha", "beta", "gamma", "grid_step"),
        *("resolution", "num_classes"),
    ),
}

# The flags of a model of the user's, with the key that each sets, and the commands that take them.
MODEL_FLAGS = {
    "model": "model.file",
    "data": "data.name",
    "input_range": "model.input_range",
    "allow_custom": "model.allow_custom",
}
MODEL_COMMANDS = ("run", "compress", "convert", "bench", "report")
MODEL_CONFIG = Path(__file__).parents[1] / "configs" / "own_model.py"

FLAGS = flags.FLAGS


def define_flags(argv: Sequence[str], flag_values: flags.FlagValues = FLAGS) -> None:
    """Registers our flags; `argv` is where config_flags looks for the overrides."""
    config_flags.DEFINE_config_file("config", None, "configuration file", flag_values=flag_values, sys_argv=list(argv))
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=flag_values)
    flags.DEFINE_bool("dry_run", False, "show the plan and stop", flag_values=flag_values)
    flags.DEFINE_multi_string("unset", [], "keys to set to None (made of KEY=None)", flag_values=flag_values)
    flags.DEFINE_bool("new_config", False, "go on with another configuration", flag_values=flag_values)
    for name in ("model", "data", "input_range"):
        flags.DEFINE_string(name, None, "of a model of yours", flag_values=flag_values)
    flags.DEFINE_bool("allow_custom", False, "load custom objects of the model", flag_values=flag_values)
    flags.DEFINE_string("arch", None, "network to scale", flag_values=flag_values)
    for name in ("resolution", "num_classes"):
        flags.DEFINE_integer(name, None, "of the network to describe or scale", flag_values=flag_values)
    for name in ("width_multiplier", "max_macs", "max_latency_us", "alpha", "beta", "gamma", "grid_step"):
        flags.DEFINE_float(name, None, "of the network to describe or scale", flag_values=flag_values)


def parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's flag parser with our exit codes: help ends with 0 and a bad flag with 2 (absl's own ends with 1)."""
    if len(argv) < 2 or any(argument in HELP_FLAGS for argument in argv[1:]):
        print(USAGE)
        sys.exit(EXIT_DONE if len(argv) >= 2 else EXIT_USAGE)
    try:
        arguments = normalized(_with_model_config(argv))
        define_flags(arguments)
        return list(FLAGS(arguments))
    except UsageError as error:
        _exit_usage(str(error))
    except Exception as error:  # config_flags runs the file, which may raise anything
        _exit_usage(_flag_message(error) if isinstance(error, flags.Error) else f"--config: {one_line(error)}")
    raise AssertionError("unreachable")


def _with_model_config(argv: Sequence[str]) -> list[str]:
    """The arguments, with the configuration for a model of the user's if none is named."""

    def given(name: str) -> bool:
        return any(re.match(rf"--?{name}(=|$)", argument) for argument in argv[1:])

    if not given("model") or given("config"):
        return list(argv)
    return [argv[0], f"--config={MODEL_CONFIG}", *argv[1:]]  # overrides come after what they override


def main(argv: Sequence[str]) -> int:
    """Runs the command; every error ends in one line on stderr and its exit code."""
    try:
        return _dispatch(argv)
    except LitesmithError as error:
        print(f"litesmith: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("litesmith: interrupted; the same command goes on from here", file=sys.stderr)
        return 128 + 2


def _dispatch(argv: Sequence[str]) -> int:
    if argv[1:2] == ["describe"]:
        _check_network_flags("describe")
        return _describe(argv[2:])
    if len(argv) != 2:
        raise UsageError(
            f"expected one command, got {' '.join(argv[1:]) or 'none'}; legal are {', '.join(_commands())}"
        )
    command = argv[1]
    if command not in _commands():
        raise bad_value("command", command, one_of(_commands()))
    _check_network_flags(command)
    _check_model_flags(command)
    if command == "scale":
        return _scale()
    workdir = _workdir()
    if command == "status":
        show_status(workdir, Reporter())
        return EXIT_DONE
    return _run(command, _config(), workdir)


def _check_network_flags(command: str) -> None:
    for owner, names in NETWORK_FLAGS.items():
        for name in names:
            if FLAGS[name].present and name not in NETWORK_FLAGS.get(command, ()):
                raise UsageError(f"--{name}: {command} does not take it; only {owner} does")


def _check_model_flags(command: str) -> None:
    given = [name for name in MODEL_FLAGS if FLAGS[name].present]
    if given and command not in MODEL_COMMANDS:
        raise UsageError(f"--{given[0]}: {command} does not take it; {one_of(MODEL_COMMANDS)} do")
    if given and FLAGS.model is None:
        raise UsageError(f"--{given[0]}: goes with --model; without it, a configuration says so: --config.KEY=VALUE")


def _describe(arguments: Sequence[str]) -> int:
    from pipeline.describe import Asked, describe, show

    if len(arguments) != 1:
        found = " ".join(arguments) or "none"
        raise UsageError(f"describe: expected one name, or a network's text in quotes; got {found}")
    asked = Asked(**{name: FLAGS[name].value for name in NETWORK_FLAGS["describe"]})
    show(describe(arguments[0], asked), Reporter())
    return EXIT_DONE


def _scale() -> int:
    from pipeline.scale import GRID_STEP, ScaleRequest, grid_command, scale_command

    given = {name: FLAGS[name].value for name in NETWORK_FLAGS["scale"] if FLAGS[name].value is not None}
    step = given.pop("grid_step", None)
    if FLAGS["config"].value is None and not FLAGS.workdir:
        if step is not None:
            raise UsageError("--grid_step: needs --config and --workdir, with which the grid is searched")
        lines = scale_command(ScaleRequest(**given))
    else:
        for name in ("alpha", "beta", "gamma"):
            if name in given:
                raise UsageError(f"--{name}: the grid search finds it; leave --config and --workdir out to give it")
        workdir, config = _workdir(), _config()
        lines = grid_command(ScaleRequest(**given), config, workdir, Reporter(), GRID_STEP if step is None else step)
    for line in lines:
        print(line)
    return EXIT_DONE


def _commands() -> tuple[str, ...]:
    return (*COMMANDS, "status", "describe", "scale")


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


def _run(command: str, config: Config, workdir: Path) -> int:
    folder = Workdir(workdir)
    folder.check(config, FLAGS.new_config)
    if config.model.file is not None:
        if command == "search":
            raise UsageError(f"{MODEL_FILE}: {config.model.file!r} is compressed, nothing is searched; use compress")
        command = "run" if command == "compress" else command
    plan = _plan(config)
    stages = plan.for_command(command)
    reporter = Reporter()
    if FLAGS.dry_run:
        show_plan(stages, workdir, reporter)
        return EXIT_DONE
    failed = run_stages(stages, plan, config, folder, reporter, FLAGS.new_config)
    if command == "run":
        for line in closing_lines(workdir):
            reporter.line(line)
    for line in failed:
        print(f"litesmith: {line}", file=sys.stderr)
    return EXIT_FAILED if failed else EXIT_DONE


def _plan(config: Config) -> Plan:
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
    return make_plan(config, fingerprint(config.data), teacher, model)


def _flag_message(error: flags.Error) -> str:
    """absl's message, with Python's wording for a number that does not parse put as what is legal."""
    text = re.sub(r"invalid literal for int\(\) with base 10: .*", "expected a whole number", str(error))
    return re.sub(r"could not convert string to float: .*", "expected a number", text)


def _exit_usage(message: str) -> None:
    print(f"litesmith: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def run_main() -> None:
    """The entry point of the binary."""
    app.run(lambda argv: sys.exit(main(argv)), flags_parser=parse_flags)


if __name__ == "__main__":
    run_main()
