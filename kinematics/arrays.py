"""Array types of the public values: validated, finite, read-only, and plain lists in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer

FloatArray = NDArray[np.float64]


def read_only(array: Any, shape: tuple[int | None, ...] | None = None) -> FloatArray:
    """Return a finite, C-ordered, read-only float64 copy of `array`.

    Args:
        array: Anything that NumPy can make an array of.
        shape: Expected shape; None stands for any length.

    Raises:
        ValueError: Wrong shape, NaN or infinity.
    """
    result = np.array(array, dtype=np.float64, order="C", copy=True)
    if shape is not None and shape[0] is None and result.shape == (0,):
        result = result.reshape([w or 0 for w in shape])  # no rows at all: JSON does not keep their width
    if shape is not None and (
        result.ndim != len(shape) or any(w is not None and w != h for w, h in zip(shape, result.shape, strict=True))
    ):
        raise ValueError(f"expected shape {shape}, found {result.shape}")
    if not np.isfinite(result).all():
        raise ValueError("array holds NaN or infinity")
    result.flags.writeable = False
    return result


def _validator(*shape: int | None) -> Callable[[Any], FloatArray]:
    def validate(value: Any) -> FloatArray:
        return read_only(value, shape)

    return validate


def _listed(array: FloatArray) -> Any:
    return array.tolist()


# np.ndarray itself is what pydantic sees; the aliases say the shape.
Vec3 = Annotated[np.ndarray, BeforeValidator(_validator(3)), PlainSerializer(_listed)]
Points3 = Annotated[np.ndarray, BeforeValidator(_validator(None, 3)), PlainSerializer(_listed)]
Mat3 = Annotated[np.ndarray, BeforeValidator(_validator(3, 3)), PlainSerializer(_listed)]
Mat4 = Annotated[np.ndarray, BeforeValidator(_validator(4, 4)), PlainSerializer(_listed)]
Mat6 = Annotated[np.ndarray, BeforeValidator(_validator(6, 6)), PlainSerializer(_listed)]
Rows7 = Annotated[np.ndarray, BeforeValidator(_validator(None, 7)), PlainSerializer(_listed)]
