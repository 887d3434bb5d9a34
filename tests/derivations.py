"""Derivations and emitted code that several tests look at, made once in each process.

Tests that break a pass, and see it noticed, call ``bncheck.calculus.passes`` itself.
"""

from functools import cache

from bncheck.calculus import passes
from bncheck.writers import numpy_source

derived = cache(passes.derived)
double_backward = cache(passes.double_backward)
functions = cache(numpy_source.functions)
