"""The nearest perpendicular axes keep lengths, handedness and direction."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from registration.images.axes import nearest_perpendicular


@given(
    vector=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    lengths=st.tuples(*[st.floats(0.2, 6.0)] * 3),
    noise=st.tuples(*[st.floats(-1e-4, 1e-4)] * 9),
    flip=st.booleans(),
)
def test_rounded_axes_are_made_perpendicular(vector, lengths, noise, flip):
    """Perpendicular to 1e-12, each as long as it was, no further off than the rounding, as handed as before."""
    axes = Rotation.from_rotvec(vector).as_matrix() * [1, 1, -1 if flip else 1]
    columns = (axes + np.reshape(noise, (3, 3))) * lengths
    found = nearest_perpendicular(columns)
    unit = found / np.linalg.norm(found, axis=0)
    assert unit.T @ unit == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.norm(found, axis=0) == pytest.approx(np.linalg.norm(columns, axis=0))
    assert np.abs(unit - axes).max() < 1e-3
    assert np.linalg.det(unit) == pytest.approx(-1.0 if flip else 1.0)
