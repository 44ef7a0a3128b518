"""Plugin table: the commands beside those of a run; each is a function of a pipeline.call.Call, which returns the
exit code."""

COMMANDS = {
    "status": "pipeline.commands.status:run",
    "describe": "pipeline.commands.describe:run",
    "scale": "pipeline.commands.scale:run",
    "extract": "pipeline.commands.extract:run",
    "devices": "pipeline.commands.devices:run",
    "benchmark": "pipeline.commands.benchmark:run",
    "compare": "pipeline.commands.compare:run",
    "latency_table": "pipeline.commands.latency_table:run",
    "release": "pipeline.commands.release:run",
    "list": "pipeline.commands.list:run",
    "show": "pipeline.commands.show:run",
    "diff": "pipeline.commands.diff:run",
    "pull": "pipeline.commands.pull:run",
    "verify": "pipeline.commands.verify:run",
}
