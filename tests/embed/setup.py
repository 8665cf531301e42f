# All that a client needs to be built: no include directories, no flags.
# Imports setuptools and Cython.
# Used by test_embed.py; a pattern for embedders.
from Cython.Build import cythonize
from setuptools import setup

setup(
    name="client",
    py_modules=[],
    ext_modules=cythonize(["client.pyx", "direct.pyx"], compiler_directives={"language_level": 3}),
)
