"""Ships the model of a run with the package: zoo/weights/own/NAME.safetensors.

    python docs/tools/own_weights.py runs/lenet lenet5.mnist COMMIT

COMMIT is what was checked out when the run was made. Adds to the file's metadata, as "made_by", the
command, the commit, the versions and the hardware that made it. A file that is there is never
replaced: its digest is published (README.md there).
"""

import hashlib
import json
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = Path(__file__).parents[2] / "zoo" / "weights" / "own"


def made_by(workdir: Path, commit: str) -> dict:
    """Returns what made a run, without what is of one machine only."""
    (process,) = json.loads((workdir / "environment.json").read_text())  # it was never resumed
    arguments = [a for a in process["command"][1:] if not a.startswith("--workdir")]
    return {
        "command": " ".join(["python -m train", *arguments]),
        "commit": commit,
        "python": process["python"],
        "packages": process["packages"],
        "devices": process["devices"],
        "date": process["time"][:10],
    }


def main(workdir: Path, name: str, commit: str) -> None:
    """Writes the file and prints its digest."""
    path = FOLDER / f"{name}.safetensors"
    if path.exists():
        sys.exit(f"{path} is frozen.")
    with safe_open(workdir / "model.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        # Digits are arrays, which training never decodes at reduced size.
        preprocessing = {"reduced": False} | json.loads(file.metadata()["preprocessing"])
        metadata = file.metadata() | {"preprocessing": json.dumps(preprocessing)}
        metadata |= {"made_by": json.dumps(made_by(workdir, commit))}
    save_file(arrays, path, metadata)
    print(hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size, metadata)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
