"""Artifacts that `sam build` makes of the template: built once per test run, never reused from an earlier run."""

import fcntl
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

__all__ = ["ARCHITECTURES", "BIN", "MACHINE", "ROOT", "Artifact", "built", "environment", "sam"]

ROOT: Final = Path(__file__).resolve().parents[1]
BIN: Final = Path(sys.executable).parent
ARCHITECTURES: Final = ("arm64", "x86_64")
MACHINE: Final = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
"""This machine's processor, as the template's parameter."""


class Artifact:
    """One finished build.

    Args:
        folder: `sam build --build-dir`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.template = folder / "template.yaml"
        self.function = folder / "ChatFunction"
        self.tool_worker = folder / "ToolWorkerFunction"
        self.engine_layer = folder / "WinterbourneLayer"
        self.dependencies = folder / "DependenciesLayer"

    def opt(self, folder: Path) -> Path:
        """Lay both layers over one another, as Lambda does in /opt."""
        for layer in (self.dependencies, self.engine_layer):
            shutil.copytree(layer, folder, dirs_exist_ok=True)
        return folder


def built(run: Path, architecture: str) -> Artifact:
    """Build for a processor, or wait until another worker has.

    Args:
        run: A folder that all workers of this run share.
        architecture: As the template's parameter.
    """
    folder = run / f"built-{architecture}"
    with (run / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "template.yaml").exists():
            done = sam("build", "--build-dir", str(folder), "--parameter-overrides", f"Architecture={architecture}")
            assert done.returncode == 0, done.stderr
    return Artifact(folder)


def environment(path: str = "") -> dict[str, str]:
    """The environment variables `sam` runs with: its tools from our Python, no telemetry and no AWS credentials.

    Args:
        path: Instead of this process's PATH.
    """
    quiet = {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
    # With credentials, every command of sam calls STS first.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**ours, **quiet, "PATH": f"{BIN}:{path or os.environ['PATH']}"}


def sam(
    *arguments: str, timeout_s: float = 110, path: str = "", folder: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run `sam` in a folder, by default the project's root, in the environment above."""
    return subprocess.run(
        [str(BIN / "sam"), *arguments],
        cwd=folder,
        env=environment(path),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
