"""Builds zoo/kernels/onednn.cc where that is possible; everything else is in pyproject.toml.

Without a compiler, or on another platform than Linux on x86-64, the package is the same without it:
XLA alone computes on CPU then.
"""

import importlib.metadata
import importlib.util
import platform
import sys
from pathlib import Path

from setuptools import Extension, setup


def onednn_extension() -> list[Extension]:
    """The extension, or nothing where its headers are not there."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return []
    jaxlib = importlib.util.find_spec("jaxlib")
    try:
        headers = importlib.metadata.files("onednn-devel-cpu-gomp") or []
        libraries = importlib.metadata.files("onednn-cpu-gomp") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    if jaxlib is None or not jaxlib.submodule_search_locations:
        return []
    (header,) = (f.locate() for f in headers if f.as_posix().endswith("oneapi/dnnl/dnnl.hpp"))
    (library,) = (f.locate() for f in libraries if f.name == "libdnnl.so")
    return [
        Extension(
            "zoo.kernels._onednn",
            sources=["zoo/kernels/onednn.cc"],
            include_dirs=[
                str(Path(jaxlib.submodule_search_locations[0]) / "include"),
                str(Path(str(header)).parents[2]),
            ],
            library_dirs=[str(Path(str(library)).parent)],
            libraries=["dnnl", "gomp"],
            extra_compile_args=["-std=c++17", "-O2", "-g0", "-fvisibility=hidden", "-w"],
            extra_link_args=["-s"],
            py_limited_api=True,
            optional=True,  # a build that fails is a warning
        )
    ]


setup(
    ext_modules=onednn_extension(),
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
