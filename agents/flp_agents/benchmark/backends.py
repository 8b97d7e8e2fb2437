"""How joblib spreads the cells of a benchmark over processes: on this machine, or on a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import joblib

from flp_base.errors import FLPError, check_choice

# Backends that this package knows how to set up; joblib's own are "loky" (processes) and "sequential".
BACKENDS = ("loky", "ray", "dask")


def way_of_returning() -> str:
    """As they come, where the backend can do that; Ray's returns all at the end."""
    backend, _ = joblib.parallel.get_active_backend()
    return "generator_unordered" if backend.supports_return_generator else "list"


@contextmanager
def backend_of(name: str) -> Iterator[None]:
    """Sets up a joblib backend.

    Raises:
        FLPError: if what it needs is not installed.
    """
    check_choice("backend", name, BACKENDS)
    if name == "ray":
        try:
            of_ray: Any = importlib.import_module("ray.util.joblib")
        except ImportError:
            raise FLPError("the ray backend needs Ray: pip install 'flp-envs[ray]'") from None
        of_ray.register_ray()
    elif name == "dask":
        try:
            from distributed import get_client
        except ImportError:
            raise FLPError("the dask backend needs Dask: pip install 'flp-envs[dask]'") from None
        try:
            get_client()
        except ValueError:
            raise FLPError(
                "the dask backend needs a dask.distributed.Client, made by the program that calls run_benchmark"
            ) from None
    with joblib.parallel_config(backend=name):
        yield
