"""The files of a release that a report links to. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deploy.app.golden import golden_path
from deploy.app.snippets import snippet_paths
from deploy.manifest import MANIFEST
from deploy.release import LABELS
from pipeline.report_data import ArtifactReport, RunReport

RELEASE = "../release/"  # from the page to the release's files
OF_ALL = (LABELS, MANIFEST)  # files that are of no single model


@dataclass(frozen=True, slots=True)
class ReleaseFiles:
    """What of a release is of one model, as paths in it; `golden` is "" where the run keeps no expected outputs."""

    card: str
    snippets: tuple[str, ...]
    golden: str


def release_files(report: RunReport, artifact: ArtifactReport) -> ReleaseFiles:
    """The files for people and apps that the release has beside an artifact."""
    golden = golden_path(artifact.file) if report.config["release"]["golden_images"] else ""
    return ReleaseFiles(f"{Path(artifact.file).stem}.md", snippet_paths(artifact.file), golden)


def in_store(page: str) -> str:
    """The page as a store has it, where it lies in a folder of the release itself and not beside it."""
    return page.replace(f'href="{RELEASE}', 'href="../')
