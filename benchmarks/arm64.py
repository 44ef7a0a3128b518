"""LiteRT for arm64 on a computer of another kind: Debian's Python under qemu's user-mode emulation.

What runs is right, not fast: an emulated time says nothing about a phone, so none is taken here.

The runtime is a folder of its own, made once (about 16 MB of Debian packages and 45 MB of wheels): packages are
downloaded by apt from the sources of this computer and unpacked, not installed; wheels come by pip.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core import process
from core.errors import UsageError
from core.workspace import committed_directory

EMULATOR, EMULATOR_PACKAGE = "qemu-aarch64-static", "qemu-user-static"
# A Raspberry Pi 4's. With the processor that qemu 7.2 takes by itself, which has SVE and SME, XNNPACK's int8 kernels
# give wrong outputs; with this one and with LiteRT's own kernels they are those of x86.
CPU = "cortex-a72"
# Later ones, 2.3.0 for instance, end with a segmentation fault under qemu 7.2.
LITERT = "ai-edge-litert==2.1.6"
PACKAGES = ("python3", "libstdc++6")
# From the platform of the wheel of LiteRT down to the oldest that a dependency is built for.
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
LIBRARIES = "usr/lib/aarch64-linux-gnu"
DOWNLOAD_TIMEOUT_S, RUN_TIMEOUT_S = 600.0, 600.0
RUNTIME = Path.home() / ".cache" / "litesmith" / "arm64"  # where benchmark and tests keep it
WORKER = Path(__file__).with_name("arm64_worker.py")


@dataclass(frozen=True, slots=True)
class Arm64Runtime:
    """An arm64 Python with LiteRT in `folder`: "root" has Debian's files, "site" the Python packages."""

    folder: Path

    @property
    def python(self) -> str:
        """The name of its Python, such as "python3.11"."""
        return _python_name(self.folder / "root")

    def scores(self, models: Sequence[bytes], images: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.generic]]:
        """The outputs of each .tflite for uint8 images [n, R, R, 3], as the models give them: uint8 or float32.

        Raises ProcessError with the emulated program's last line if it fails.
        """
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            paths = [directory / f"{index}.tflite" for index in range(len(models))]
            for path, content in zip(paths, models, strict=True):
                path.write_bytes(content)
            np.save(directory / "images.npy", images)
            self._run(str(WORKER), *(str(directory / end) for end in ("images.npy", "scores.npz")), *map(str, paths))
            with np.load(directory / "scores.npz", allow_pickle=False) as found:
                return [found[f"model_{index}"] for index in range(len(models))]

    def command(self) -> list[str]:
        """What runs its Python; arguments follow."""
        root = self.folder / "root"
        settings = {
            "LD_LIBRARY_PATH": f"{root / LIBRARIES}:{root / 'lib/aarch64-linux-gnu'}",
            "PYTHONHOME": str(root / "usr"),
            "PYTHONPATH": str(self.folder / "site"),
        }
        flags = [flag for name, value in settings.items() for flag in ("-E", f"{name}={value}")]
        return [EMULATOR, "-cpu", CPU, "-L", str(root), *flags, str(root / "usr/bin" / self.python)]

    def _run(self, *arguments: str) -> None:
        process.run([*self.command(), *arguments], timeout_s=RUN_TIMEOUT_S)


def arm64_runtime(folder: Path) -> Arm64Runtime:
    """The runtime in `folder`, which is made if it is not there.

    Raises UsageError without the emulator, and ProcessError if a package cannot be fetched.
    """
    if shutil.which(EMULATOR) is None:
        raise UsageError(f"needs the Debian package {EMULATOR_PACKAGE}")
    if not folder.exists():
        with committed_directory(folder) as directory:
            _unpack_packages(directory / "root")
            _install_wheels(directory / "root", directory / "site")
    return Arm64Runtime(folder.resolve())


def _unpack_packages(root: Path) -> None:
    """Debian packages and all that they depend on, of this computer's release, but for arm64."""
    with tempfile.TemporaryDirectory() as name:
        apt = Path(name)
        options = _private_apt(apt)
        process.run(["apt-get", *options, "update"], timeout_s=DOWNLOAD_TIMEOUT_S)
        install = ("install", "--download-only", "--no-install-recommends", "--yes", *PACKAGES)
        process.run(["apt-get", *options, *install], timeout_s=DOWNLOAD_TIMEOUT_S)
        for package in sorted((apt / "cache/archives").glob("*.deb")):
            process.run(["dpkg-deb", "--extract", str(package), str(root)], timeout_s=DOWNLOAD_TIMEOUT_S)


def _private_apt(folder: Path) -> list[str]:
    """Options by which apt takes this computer's sources, but knows of nothing installed and keeps all in `folder`."""
    for part in ("state/lists/partial", "cache/archives/partial"):
        (folder / part).mkdir(parents=True)
    status = folder / "state/status"
    status.touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "APT::Sandbox::User": "",
        "Dir::State": str(folder / "state"),
        "Dir::State::status": str(status),
        "Dir::Cache": str(folder / "cache"),
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _install_wheels(root: Path, site: Path) -> None:
    version = _python_name(root).removeprefix("python")
    tags = [*_flags("--platform", PLATFORMS), *_flags("--abi", (f"cp{version.replace('.', '')}", "abi3", "none"))]
    target = ("--target", str(site), "--only-binary=:all:", "--python-version", version, "--implementation", "cp")
    process.run(
        [sys.executable, "-m", "pip", "install", "--quiet", *target, *tags, LITERT], timeout_s=DOWNLOAD_TIMEOUT_S
    )


def _flags(name: str, values: Sequence[str]) -> Iterator[str]:
    for value in values:
        yield from (name, value)


def _python_name(root: Path) -> str:
    """Of the link that Debian's package python3 has: "python3.11" in Debian 12."""
    return (root / "usr/bin/python3").readlink().name
