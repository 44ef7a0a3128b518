"""A file's architecture as one that holds nothing but names, numbers and Keras' own layers. No TensorFlow here.

The result is Keras 2's JSON of the same network. It is made of what compress.importing.fields lists, so that building
it runs nothing that came with the file: no Lambda layer, no class or function of the user's, no module of any name.
Keras 3's JSON (https://keras.io/guides/serialization_and_saving) is translated on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

from compress.importing.fields import (
    ABSENT_IN_INFERENCE,
    ACTIVATIONS,
    ACTIVATIONS_OF,
    ARITHMETIC,
    FIELDS,
    FUNCTION_ARGUMENTS,
    FUNCTIONS,
    MODEL_CLASSES,
    NEUTRAL,
    RENAMED_FIELDS,
    REQUIRED,
    WITH_ACTIVATION,
    changes_outputs,
)
from compress.importing.source import ModelFile, layers_of
from core.errors import UsageError, one_line

Json = dict[str, Any]
KERAS_MODULES = ("keras", "tf_keras")
FUNCTION_MODULES = (*KERAS_MODULES, "tensorflow", "builtins")
CONSTANT = "_CONSTANT_VALUE"  # Keras 2 writes a number as this layer's output
# Arguments beside the first that may be tensors.
SECOND_ARGUMENTS = {"MultiHeadAttention": ("value", "key")}


class Refused(Exception):
    """Why a layer cannot be taken over, in words that follow its name."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(reason)
        self.layer, self.reason = layer, reason


@dataclass(frozen=True, slots=True)
class Reference:
    """The output of another layer: its name and which call of it."""

    layer: str
    call: int


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a layer: its arguments, each a Reference, a list of them, or a plain value."""

    args: tuple[Any, ...]
    kwargs: Json


def plain_architecture(file: ModelFile) -> Json:
    """Keras 2's JSON of the model. Raises UsageError naming the layer that cannot be taken over."""
    try:
        return _model(_unwrapped(file.architecture), file.keras_version)
    except Refused as error:
        raise UsageError(
            f"{file.where}: layer {error.layer!r} {error.reason}; it is not loaded, nothing was run"
        ) from error
    except (KeyError, ValueError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file.where}: its architecture is damaged ({one_line(error)})") from error


def _model(node: Json, version: int) -> Json:
    name = str(node["config"]["name"])
    if node["class_name"] == "Sequential":
        return {"class_name": "Sequential", "config": {"name": name, "layers": _chain(node, version)}}
    return {"class_name": "Functional", "config": {"name": name, **_graph(node, version)}}


def _chain(node: Json, version: int) -> list[Json]:
    """The layers of a sequential model, an InputLayer first."""
    serialized = list(layers_of(node))
    layers = [_layer(layer, version) for layer in serialized]
    if layers[0]["class_name"] == "InputLayer":
        return layers
    name = str(node["config"]["name"])
    first = serialized[0]["config"].get("batch_input_shape") or node["config"].get("build_input_shape")
    config = {"name": f"{name}_input", "batch_input_shape": _shape(first, name)}
    return [{"class_name": "InputLayer", "config": config}, *layers]


def _graph(node: Json, version: int) -> Json:
    """The layers of a functional model and their connections. Raises ValueError if these lead nowhere or in circles."""
    parts = [_functional_layer(layer, version) for layer in layers_of(node)]
    calls = {plain["name"]: tuple(calls) for plain, calls in parts}
    if len(calls) < len(parts):
        raise ValueError("two layers have one name")
    first = {
        plain["name"]: _first_call(layer, version) for (plain, _), layer in zip(parts, layers_of(node), strict=True)
    }
    nested = {plain["name"]: int(plain["class_name"] in MODEL_CLASSES) for plain, _ in parts}

    def renumbered(reference: Reference) -> Reference:
        """Keras 2 hangs on references that it cannot resolve."""
        name, call = reference.layer, reference.call - first.get(reference.layer, 0)
        if not 0 <= call < max(1, len(calls.get(name, ()))) or name not in calls:
            raise ValueError(f"there is no call {reference.call} of a layer {name!r}")
        return Reference(name, call + nested[name])

    order: TopologicalSorter[Reference] = TopologicalSorter()
    for plain, _ in parts:
        connected = [_mapped(call, renumbered) for call in calls[plain["name"]]]
        for number, call in enumerate(connected):
            order.add(Reference(plain["name"], number + nested[plain["name"]]), *_references(call))
        plain["inbound_nodes"] = [_inbound(call, plain["class_name"], plain["name"]) for call in connected]
    order.prepare()  # raises CycleError, a ValueError
    config = node["config"]
    ends = {
        key: [_history(renumbered(_reference(end, key))) for end in _ends(config[key])]
        for key in ("input_layers", "output_layers")
    }
    return {"layers": [plain for plain, _ in parts], **ends}


def _first_call(layer: Json, version: int) -> int:
    """The number that a file gives to the first call of a layer: Keras 2 counts the making of a nested model as one."""
    if version == 3 or layer["class_name"] not in MODEL_CLASSES:
        return 0
    return int(next(layers_of(layer))["class_name"] == "InputLayer")


def _functional_layer(layer: Json, version: int) -> tuple[Json, list[Call]]:
    """A layer without connections, and its calls as the file numbers them."""
    name = str(layer.get("name") or layer["config"]["name"])
    calls = [_call(node, version, name) for node in layer.get("inbound_nodes") or ()]
    plain, calls = _arithmetic(layer, calls) or (_layer(layer, version), calls)
    plain["config"]["name"] = name
    return {**plain, "name": name}, calls


def _layer(layer: Json, version: int) -> Json:
    """One layer without its connections. Raises Refused."""
    class_name, config = layer["class_name"], layer["config"]
    name = str(config.get("name") or layer.get("name"))
    _require_keras(layer, name)
    if class_name in MODEL_CLASSES:
        return _model(layer, version)
    if class_name == "InputLayer":
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        return {"class_name": class_name, "config": {"name": name, "batch_input_shape": _shape(shape, name)}}
    if class_name in ABSENT_IN_INFERENCE:
        return {"class_name": "Activation", "config": {"name": name, "activation": "linear"}}
    plain: Json = {"name": name, "trainable": bool(config.get("trainable", True)), **REQUIRED.get(class_name, {})}
    for key, value in config.items():
        field = RENAMED_FIELDS.get((class_name, key), key)
        if field in FIELDS[class_name]:
            plain[field] = _number_tree(value, name, key)
        elif changes_outputs(key, value):
            raise Refused(name, f"({class_name}) has {key} = {_short(value)}, which is not supported")
    if class_name in WITH_ACTIVATION:
        plain["activation"] = _activation(config.get("activation"), version, name)
    return {"class_name": class_name, "config": plain}


def _require_keras(layer: Json, name: str) -> None:
    """Raises Refused unless the layer is one of Keras' own that are listed."""
    class_name, module, registered = layer["class_name"], layer.get("module"), layer.get("registered_name")
    if class_name == "Lambda":
        raise Refused(name, "is a Lambda layer, which holds Python code")
    if class_name == "TFOpLambda":
        raise Refused(name, f"calls the TensorFlow function {layer['config'].get('function')!r}")
    package = str(module).split(".")[0]
    own = (module is None or package in KERAS_MODULES) and (registered is None or ">" not in str(registered))
    known = class_name in FIELDS or class_name in ABSENT_IN_INFERENCE or class_name in (*MODEL_CLASSES, "InputLayer")
    if own and known and not str(module).startswith("keras.src.ops"):
        return
    if not own:
        raise Refused(name, f"uses {module or 'custom'}.{class_name}, which is not one of Keras' layers")
    raise Refused(name, f"({class_name}) is not a layer of Keras for images that can be taken over")


def _activation(value: Any, version: int, name: str) -> str:
    """tf_keras' name (or ours) of an activation function. Raises Refused."""
    if isinstance(value, dict):
        module = str(value.get("module")).split(".")[0]
        if value.get("class_name") != "function" or module not in FUNCTION_MODULES:
            what = "holds Python code" if "class_name" not in value or "lambda" in str(value["class_name"]) else ""
            raise Refused(name, f"has an activation that {what or f'is not a function of Keras: {_short(value)}'}")
        value = value.get("config")
    if value is None:
        return "linear"
    if isinstance(value, str) and (value in ACTIVATIONS_OF[version] or value in ACTIVATIONS):
        return ACTIVATIONS_OF[version].get(value, value)
    if not isinstance(value, str) or value == "<lambda>":
        raise Refused(name, "has an activation that holds Python code")
    raise Refused(name, f"has the activation function {value!r}, which is not one of Keras' that can be taken over")


def _arithmetic(layer: Json, calls: list[Call]) -> tuple[Json, list[Call]] | None:
    """A layer in place of arithmetic on tensors; None if the layer is something else. Raises Refused."""
    is_op = str(layer.get("module")).startswith("keras.src.ops")
    function = layer["config"].get("function") if layer["class_name"] == "TFOpLambda" else layer["class_name"]
    if layer["class_name"] != "TFOpLambda" and not is_op:
        return None
    name = str(layer.get("name") or layer["config"]["name"])
    if len(calls) != 1 or (function not in ARITHMETIC and function not in FUNCTIONS):
        raise Refused(name, f"calls the {'Keras' if is_op else 'TensorFlow'} function {function!r}")
    (call,) = calls
    if function in FUNCTIONS:
        if len(call.args) != 1 or set(call.kwargs) - set(FUNCTION_ARGUMENTS):
            raise Refused(name, f"calls {function!r} with arguments that are not supported")
        for key, value in layer["config"].items() if is_op else ():
            if changes_outputs(key, value) and NEUTRAL.get((function, key)) != value:
                raise Refused(name, f"calls {function!r} with {key} = {_short(value)}, which is not supported")
        plain: Json = {"class_name": "Activation", "config": {"name": name, "activation": FUNCTIONS[function]}}
        return plain, [Call(call.args, {})]
    x, y = _operands(call, name)
    if isinstance(x, Reference) and isinstance(y, Reference):
        if ARITHMETIC[function] == "divide":
            raise Refused(name, "divides one tensor by another, which is not supported")
        class_name = ARITHMETIC[function].capitalize()
        return {"class_name": class_name, "config": {"name": name}}, [Call(([x, y],), {})]
    scale, offset = _affine(ARITHMETIC[function], x, y, name)
    tensor = x if isinstance(x, Reference) else y
    return {"class_name": "Rescaling", "config": {"name": name, "scale": scale, "offset": offset}}, [
        Call((tensor,), {})
    ]


def _operands(call: Call, name: str) -> tuple[Any, Any]:
    arguments = {**dict(zip(("x", "y"), call.args, strict=False)), **call.kwargs}
    arguments = {{"x1": "x", "x2": "y"}.get(key, key): value for key, value in arguments.items() if value is not None}
    if set(arguments) - {"name"} != {"x", "y"}:
        raise Refused(name, "is arithmetic on other than two values, which is not supported")
    operands = [arguments[key] for key in ("x", "y")]
    x, y = (value if isinstance(value, Reference) else _number_tree(value, name, "a constant") for value in operands)
    return x, y


def _affine(kind: str, x: Any, y: Any, name: str) -> tuple[Any, Any]:
    """(scale, offset) of arithmetic with one constant, a number or one number per channel."""
    constant, first = (y, True) if isinstance(x, Reference) else (x, False)
    if not isinstance(constant, (int, float)) and not (
        isinstance(constant, list) and all(isinstance(value, (int, float)) for value in constant)
    ):
        raise Refused(name, f"is arithmetic with the constant {_short(constant)}, which is not supported")
    if kind == "divide" and not first:
        raise Refused(name, "divides by a tensor, which is not supported")
    values = constant if isinstance(constant, list) else [constant]
    scales = {"multiply": values, "divide": [1.0 / value for value in values]} if kind in ("multiply", "divide") else {}
    offsets = {"add": values, "subtract": [-value for value in values] if first else values}
    scale = _scalar(scales.get(kind, [1.0 if first or kind == "add" else -1.0]))
    return scale, _scalar(offsets.get(kind, [0.0]))


def _scalar(values: list[float]) -> Any:
    return values[0] if len(values) == 1 else values


def _call(node: Any, version: int, name: str) -> Call:
    """One entry of `inbound_nodes` in either dialect."""
    if version == 3:
        return Call(
            tuple(_argument3(value, name) for value in node["args"]),
            _inference({key: _argument3(value, name) for key, value in node["kwargs"].items()}, name),
        )
    entries = [node] if node and isinstance(node[0], str) else node
    tensors = [entry[2] if entry[0] == CONSTANT else _reference(entry[:3], name) for entry in entries]
    kwargs = {key: _argument2(value, name) for key, value in (entries[0][3] if len(entries[0]) > 3 else {}).items()}
    return Call((tensors[0] if len(tensors) == 1 else tensors,), _inference(kwargs, name))


def _inference(kwargs: Json, name: str) -> Json:
    """Without what only says whether a layer is trained: fine-tuning trains all of them."""
    return {key: value for key, value in kwargs.items() if key not in ("training", "mask") and value is not None}


def _argument2(value: Any, name: str) -> Any:
    is_tensor = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    return _reference(value, name) if is_tensor else value


def _argument3(value: Any, name: str) -> Any:
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return _reference(value["config"]["keras_history"], name)
    return [_argument3(item, name) for item in value] if isinstance(value, list) else value


def _reference(history: Any, name: str) -> Reference:
    layer, call, output = history
    if output != 0:
        raise Refused(name, f"reads output {output} of {layer!r}; only layers of one output are supported")
    return Reference(str(layer), int(call))


def _references(call: Call) -> list[Reference]:
    values = [*call.args, *call.kwargs.values()]
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if isinstance(item, Reference)]


def _mapped(call: Call, change: Callable[[Reference], Reference]) -> Call:
    """The call with every reference changed."""

    def mapped(value: Any) -> Any:
        if isinstance(value, list):
            return [mapped(item) for item in value]
        return change(value) if isinstance(value, Reference) else value

    kwargs = {key: mapped(value) for key, value in call.kwargs.items()}
    return Call(tuple(mapped(value) for value in call.args), kwargs)


def _inbound(call: Call, class_name: str, name: str) -> Any:
    """The entry of Keras 2. Raises Refused for arguments other than the layer's inputs."""
    positional = SECOND_ARGUMENTS.get(class_name, ())
    first, *others = call.args
    kwargs = {**dict(zip(positional, others, strict=False)), **call.kwargs}
    tensors = first if isinstance(first, list) else [first]
    only_tensors = all(isinstance(value, Reference) for value in [*tensors, *kwargs.values()])
    unknown = sorted(set(kwargs) - set(positional))
    if len(others) > len(positional) or unknown or not only_tensors:
        raise Refused(name, f"({class_name}) is called with arguments that are not supported: {unknown or 'constants'}")
    extra = {key: _history(value) for key, value in kwargs.items()}
    return [[*_history(tensor), extra] for tensor in tensors]


def _history(reference: Reference) -> list[Any]:
    return [reference.layer, reference.call, 0]


def _ends(value: Any) -> Iterable[Any]:
    if not isinstance(value, list):
        raise ValueError("inputs and outputs of a model must be a list")
    return [value] if value and isinstance(value[0], str) else value


def _shape(value: Any, name: str) -> list[int | None]:
    if not isinstance(value, list) or not all(side is None or isinstance(side, int) for side in value):
        raise Refused(name, "has no input shape; save the model after it was built")
    return [None, *value[1:]]


def _number_tree(value: Any, name: str, key: str) -> Any:
    """A value made of numbers, booleans, strings and lists. Raises Refused for anything else."""
    if isinstance(value, dict) and value.get("class_name") == "__numpy__":
        value = value["config"]["value"]
    if isinstance(value, list):
        return [_number_tree(item, name, key) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise Refused(name, f"has {key} = {_short(value)}, which is not a plain value")


def _unwrapped(value: Any) -> Any:
    """JSON without the marks of tuples that SavedModels have."""
    if isinstance(value, dict):
        if value.get("class_name") == "__tuple__":
            return [_unwrapped(item) for item in value["items"]]
        return {key: _unwrapped(item) for key, item in value.items()}
    return [_unwrapped(item) for item in value] if isinstance(value, list) else value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
