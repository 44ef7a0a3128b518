"""The code of each kind of stage: kind -> function of a StageContext that returns an Outcome."""

STAGES = {
    "data": "pipeline.stages.data:run",
    "teacher": "pipeline.stages.teacher:run",
    "supernet": "pipeline.stages.supernet:run",
    "search": "pipeline.stages.search:run",
    "extract": "pipeline.stages.extract:run",
    "images": "pipeline.stages.images:run",
    "own_model": "pipeline.stages.own_model:run",
    "float": "pipeline.stages.float_model:run",
    "pass": "pipeline.stages.compression_pass:run",
    "found_recipe": "pipeline.stages.found_recipe:run",
    "convert": "pipeline.stages.convert:run",
    "validate": "pipeline.stages.validate:run",
    "bench": "pipeline.stages.bench:run",
    "previous": "pipeline.stages.previous:run",
    "report": "pipeline.stages.report:run",
    "release": "pipeline.stages.release:run",
}
