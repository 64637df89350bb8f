"""flax-zoo COMMAND ...: all programs by one name, whatever lies in the current folder.

flax-zoo train ...      python -m train ...
flax-zoo plan ...       python -m train.plan ...
flax-zoo prepare ...    python -m input_pipeline.prepare ...
flax-zoo predict ...    python -m train.predict ...
flax-zoo evaluate ...   python -m train.evaluate ...
flax-zoo probe ...      python -m train.probe ...
flax-zoo compare ...    python -m train.compare ...
flax-zoo schedule ...   python -m train.show_schedule ...
flax-zoo save ...       python -m train.export ...
flax-zoo explore ...    python -m train.look ...
flax-zoo list ...       python -m zoo list ...
flax-zoo summary ...    python -m zoo summary ...
flax-zoo export ...     python -m zoo export ...
flax-zoo look, filters, fields, chart, charts ...: python -m zoo look ..., and so on

`python -m train` runs a train.py of the current folder if there is one; this does not.
"""

import importlib.util
import runpy
import sys
from pathlib import Path

PROGRAMS = {
    "train": "train",
    "plan": "train.plan",
    "prepare": "input_pipeline.prepare",
    "predict": "train.predict",
    "evaluate": "train.evaluate",
    "probe": "train.probe",
    "compare": "train.compare",
    "schedule": "train.show_schedule",
    "save": "train.export",
    "explore": "train.look",
    "list": "zoo",
    "summary": "zoo",
    "export": "zoo",
    **dict.fromkeys(("look", "filters", "fields", "chart", "charts"), "zoo"),
}
_started: list[str] = []  # "flax-zoo" and its command, in a process that began by it
HOME = Path(__file__).parents[1]  # the folder of our packages
OURS = ("zoo", "train", "input_pipeline", "configs")


def main() -> None:
    """Runs the command line of the process."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(f"usage: {(__doc__ or '').strip()}")
        return
    if command not in PROGRAMS:
        sys.exit(f"There is no command {command!r}: flax-zoo {' | '.join(PROGRAMS)}.")
    if problem := taken_name():
        sys.exit(problem)
    if note := strangers(Path.cwd()):
        print(note, file=sys.stderr)
    program = PROGRAMS[command]
    _started[:] = ["flax-zoo", command]
    sys.argv = [program, *sys.argv[1 if program == "zoo" else 2 :]]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


def invocation(program: str) -> list[str]:
    """Returns the words with which this program was started: python -m train, or flax-zoo train."""
    return list(_started) or [Path(sys.executable).name, "-m", program]


def taken_name() -> str:
    """Returns a message that names a module which Python takes for one of ours, or ""."""
    for name in OURS:
        spec = importlib.util.find_spec(name)
        folders = list((spec and spec.submodule_search_locations) or [])
        if HOME / name not in map(Path, folders):
            found = (spec and spec.origin) or folders or "nothing"
            return (
                f"Python finds {found} where flax-zoo needs its own package {name!r}. Rename it, "
                "or take its folder off PYTHONPATH."
            )
    return ""


def strangers(folder: Path) -> str:
    """Returns a note on modules of a folder that have the names of ours, or ""."""
    candidates = [folder / f"{name}.py" for name in OURS if name != "configs"]
    candidates += [folder / name / "__init__.py" for name in OURS]
    found = [path for path in candidates if path.exists() and HOME not in path.parents]
    if not found:
        return ""
    names = ", ".join(str(path.relative_to(folder)) for path in found)
    return f"Note: {names} of this folder is passed over; `python -m` would take it for flax-zoo's."
