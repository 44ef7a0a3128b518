"""How the targets of a configuration are reached from this desk: serial numbers, host names, files. Run-time flags."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Connections:
    """What the command line says of the targets; nothing of it is in a configuration or in a stage's key.

    Attributes:
      serials: target name -> serial number of the Android device ("" as the name: of every Android target).
      hosts: target name -> what ssh is to connect to, [user@]host or a Host of the user's ssh configuration.
      remote_python: target name -> the Python on the board that has ai-edge-litert, such as the one of a virtual
        environment ("" as the name: of every board); without it, python3 in the PATH there.
      benchmark_model: ABI -> file of TensorFlow's benchmark_model on this computer ("" as the ABI: for every ABI).
      apk: the file of the benchmark tool's Android app, "" if it is installed already.
      ssh_config: a configuration file for ssh in place of the user's own, "" for the user's.
    """

    serials: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, str] = field(default_factory=dict)
    remote_python: dict[str, str] = field(default_factory=dict)
    benchmark_model: dict[str, str] = field(default_factory=dict)
    apk: str = ""
    ssh_config: str = ""
