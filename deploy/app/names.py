"""Names of the files and classes that an app takes over. No TensorFlow here."""

from __future__ import annotations

import re
from pathlib import Path

from core.errors import bad_value

_PACKAGE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
# The words of Java and Kotlin that no part of a package may be (The Java Language Specification, 3.9; Kotlin's hard
# keywords).
_RESERVED = frozenset(
    re.findall(
        "[a-z]+",
        "abstract assert boolean break byte case catch char class const continue default do "
        "double else enum extends false final finally float for fun goto if implements "
        "import in instanceof int interface is long native new null object package private "
        "protected public return short static strictfp super switch synchronized this throw throws transient "
        "true try typealias typeof val var void volatile when while",
    )
)


def check_package(where: str, name: str) -> None:
    """Raises UsageError if `name`, found at `where`, is no Java package of two or more parts."""
    if not _PACKAGE.fullmatch(name) or set(name.split(".")) & _RESERVED:
        legal = "a Java package of two or more lower-case parts without reserved words, such as com.example.app"
        raise bad_value(where, name, legal)


def class_name(model_file: str) -> str:
    """The class for a model: "DemoPcqat" of demo-pcqat.tflite; of letters and digits, beginning with a letter."""
    words = re.findall("[A-Za-z0-9]+", Path(model_file).stem)
    name = "".join(word[0].upper() + word[1:] for word in words)
    return name if name[:1].isalpha() else f"Model{name}"
