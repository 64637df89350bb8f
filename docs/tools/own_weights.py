"""Ships the model of a run with the package: zoo/weights/own/NAME.safetensors.

    python docs/tools/own_weights.py runs/lenet lenet5.mnist

Adds to the file's metadata, as "made_by", the command, the commit, the versions and the hardware
that made it. A file that is there is never replaced: its digest is published (README.md there).
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = Path(__file__).parents[2] / "zoo" / "weights" / "own"


def made_by(workdir: Path) -> dict:
    """Returns what made a run, without what is of one machine only."""
    (process,) = json.loads((workdir / "environment.json").read_text())  # it was never resumed
    arguments = [a for a in process["command"][1:] if not a.startswith("--workdir")]
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout
    return {
        "command": " ".join(["python -m train", *arguments]),
        "commit": commit.strip(),
        "python": process["python"],
        "packages": process["packages"],
        "devices": process["devices"],
        "date": process["time"][:10],
    }


def main(workdir: Path, name: str) -> None:
    """Writes the file and prints its digest."""
    path = FOLDER / f"{name}.safetensors"
    if path.exists():
        sys.exit(f"{path} is frozen.")
    with safe_open(workdir / "model.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata() | {"made_by": json.dumps(made_by(workdir))}
    save_file(arrays, path, metadata)
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, metadata)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
