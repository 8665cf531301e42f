# The extension modules, one translation unit each; everything else is in pyproject.toml.
# May import setuptools and Cython only.
# Used by every build front end; SWAPTABLE_NATIVE=1 and SWAPTABLE_CFLAGS reach the compiler.
import os
import shlex

from Cython.Build import cythonize
from setuptools import Extension, setup

NAMES = [
    "_capi",
    "_churn",
    "_core",
    "_replay",
    "_spaces",
    "backends._codec",
    "backends._file",
    "backends._pages",
    "backends._peers",
    "backends._zram",
    "backends._zswap",
    "designs._design",
    "designs._front_back",
    "designs._old",
    "designs._swap_table",
    "designs._virtual",
    "designs._vswap24",
    "designs._vswap48",
    "designs._words",
]

cflags = ["-O3", "-fno-strict-aliasing", "-Wno-unused-function", "-Wno-sign-compare", "-Wno-discarded-qualifiers"]
if os.environ.get("SWAPTABLE_NATIVE") == "1":
    cflags.append("-march=native")
extra = shlex.split(os.environ.get("SWAPTABLE_CFLAGS", ""))

extensions = [
    Extension(
        f"swaptable.{name}",
        [f"src/swaptable/{name.replace('.', '/')}.pyx"],
        extra_compile_args=cflags + extra + (["-Werror=incompatible-pointer-types"] if name == "_capi" else []),
        include_dirs=["src/swaptable/include"] if name == "_capi" else [],
        depends=["src/swaptable/include/swaptable.h"] if name == "_capi" else [],
        extra_link_args=[flag for flag in extra if flag.startswith("-fsanitize")],
    )
    for name in NAMES
    if os.path.exists(f"src/swaptable/{name.replace('.', '/')}.pyx")
]

setup(
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
    ext_modules=cythonize(
        extensions,
        # Generated C stays out of the source tree, so that no archive can pick it up.
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
            "embedsignature.format": "python",
        },
    )
)
