"""What a user's model file holds: its architecture as JSON. No TensorFlow here, and nothing in a file is run.

Keras has three formats: HDF5 (Keras 2), the zip ".keras" (Keras 2 and 3), and TensorFlow's SavedModel, a folder with
Keras' own metadata beside the graph. Only the JSON is read; the graph of a SavedModel, whose initializers run when
TensorFlow loads it, is not touched.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)
from google.protobuf.message import DecodeError

from compress.importing.fields import MODEL_CLASSES
from core.errors import UsageError, one_line

HDF5, KERAS_ZIP, SAVED_MODEL = "hdf5", "keras", "saved_model"
ARCHIVED_WEIGHTS = "model.weights.h5"
METADATA_FILE = "keras_metadata.pb"
FORMATS = "a .keras or .h5 model or a SavedModel folder"
# What the readers of JSON, zip and HDF5 raise for files that are not what they say.
_DAMAGE = (
    *(OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, RecursionError),
    *(NotImplementedError, zipfile.BadZipFile, zlib.error),
)
MAX_JSON_BYTES = 100_000_000  # of an architecture; a thousand layers take less than one of them


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A file (or a SavedModel's folder) that holds a functional or sequential Keras model.

    Attributes:
      kind: HDF5, KERAS_ZIP or SAVED_MODEL.
      keras_version: major version of the Keras that wrote it, 2 or 3.
      architecture: the model's serialized object, as it stands in the file; not checked.
      where: what messages about the file start with.
    """

    path: Path
    kind: str
    keras_version: int
    architecture: dict[str, Any]
    where: str


def read_model_file(path: str | Path, where: str) -> ModelFile:
    """Raises UsageError, in one line that starts with `where`, unless the file holds a whole Keras model."""
    path, named = Path(path), f"{where}: {str(path)!r}"
    if not path.exists():
        raise UsageError(f"{where}: no file {str(path)!r}; expected {FORMATS}")
    try:
        kind, version, architecture = _architecture(path)
    except UsageError as error:
        raise UsageError(f"{named} {error}") from error
    except _DAMAGE as error:
        raise UsageError(f"{named} is not a whole {FORMATS[2:]} ({one_line(error)})") from error
    if not isinstance(architecture, dict) or architecture.get("class_name") not in MODEL_CLASSES:
        raise UsageError(f"{named} holds no functional or sequential Keras model")
    return ModelFile(path, kind, version, architecture, named)


def fingerprint(path: str | Path) -> str:
    """SHA-256 of the file, or of names and bytes of all files in a SavedModel's folder."""
    path, digest = Path(path), hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if file != path:
                digest.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as content:
                while block := content.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def archived_weights(path: Path) -> h5py.File:
    """The weights inside a ".keras" file. Raises ValueError, KeyError or OSError if they are damaged or elsewhere."""
    with zipfile.ZipFile(path) as archive:
        if ARCHIVED_WEIGHTS not in archive.namelist():
            raise ValueError(f"it holds no {ARCHIVED_WEIGHTS}")
        file = h5py.File(io.BytesIO(archive.read(ARCHIVED_WEIGHTS)), "r")
    check_self_contained(file)
    return file


def check_self_contained(group: h5py.Group) -> None:
    """Raises ValueError if an HDF5 file takes data from other files: they would become the user's weights."""
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{name!r} is a link to the file {link.filename!r}")
        item = group[name] if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset) and (item.external or item.is_virtual):
            raise ValueError(f"{name!r} takes its values from another file")
        if isinstance(item, h5py.Group):
            check_self_contained(item)


def _architecture(path: Path) -> tuple[str, int, Any]:
    if path.is_dir():
        return SAVED_MODEL, 2, _from_saved_model(path)
    if zipfile.is_zipfile(path):
        return KERAS_ZIP, *_from_zip(path)
    return HDF5, 2, _from_hdf5(path)


def _from_zip(path: Path) -> tuple[int, Any]:
    with zipfile.ZipFile(path) as archive:
        for name in ("metadata.json", "config.json"):
            if archive.getinfo(name).file_size > MAX_JSON_BYTES:
                raise ValueError(f"{name} is larger than {MAX_JSON_BYTES} bytes")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")
        version = str(json.loads(archive.read("metadata.json")).get("keras_version", ""))
        return (3 if version.startswith("3") else 2), json.loads(archive.read("config.json"))


def _from_hdf5(path: Path) -> Any:
    with h5py.File(path, "r") as file:
        text = file.attrs.get("model_config")
        if text is None:
            raise ValueError("it holds weights only, no architecture; save it with model.save(...)")
        if str(file.attrs.get("keras_version", "")).startswith("3"):
            raise UsageError("is an .h5 file of Keras 3, which is not supported; save it as .keras instead")
        if "model_weights" not in file:
            raise ValueError("it holds no weights")
        check_self_contained(file)
    return json.loads(text if isinstance(text, str) else bytes(text).decode())


def _from_saved_model(directory: Path) -> Any:
    if not (directory / "saved_model.pb").is_file():
        raise ValueError("the folder holds no saved_model.pb")
    if not (directory / METADATA_FILE).is_file():
        raise UsageError(f"is a SavedModel without Keras' configuration ({METADATA_FILE}); save it as .keras instead")
    metadata = _saved_metadata_class()()
    try:
        metadata.ParseFromString((directory / METADATA_FILE).read_bytes())
    except DecodeError as error:
        raise ValueError(f"{METADATA_FILE} is damaged") from error
    roots = [json.loads(node.metadata) for node in metadata.nodes if node.node_path == "root"]
    return {key: roots[0].get(key) for key in ("class_name", "config")} if roots else None


def _saved_metadata_class() -> Any:
    """The message in keras_metadata.pb, of which only the fields that are read are declared.

    Schema: tf_keras/protobuf/saved_metadata.proto.
    """
    file = descriptor_pb2.FileDescriptorProto(name="litesmith/saved_metadata.proto", package="litesmith")
    file.syntax = "proto3"
    field = descriptor_pb2.FieldDescriptorProto
    node = file.message_type.add(name="SavedObject")
    node.field.add(name="node_path", number=3, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    node.field.add(name="metadata", number=5, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    top = file.message_type.add(name="SavedMetadata")
    top.field.add(
        name="nodes", number=1, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".litesmith.SavedObject"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("litesmith.SavedMetadata"))


def layers_of(architecture: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The serialized layers of a serialized model, in the model's order. Raises ValueError if there are none."""
    config = architecture.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list) or not layers or not all(_is_layer(layer) for layer in layers):
        raise ValueError("the architecture has no list of layers")
    yield from layers


def _is_layer(layer: Any) -> bool:
    return (
        isinstance(layer, dict) and isinstance(layer.get("config"), dict) and isinstance(layer.get("class_name"), str)
    )
