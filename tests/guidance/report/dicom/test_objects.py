"""The small things that every object relies on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.report.dicom.objects import SeriesNames, decimal, made_uid, text


@given(st.floats(-1e5, 1e5))
def test_decimal_strings_fit_and_are_near(value):
    """At most 16 characters, to a tenth of a micrometre."""
    written = decimal(value)
    assert len(written) <= 16
    assert float(written) == pytest.approx(value, abs=1e-4, rel=1e-9)
    assert not written.startswith("-0") or float(written) != 0.0


def test_texts_hold_no_separator():
    """A backslash would split the value in two."""
    assert text("a\\b\nc") == "a b c"
    assert len(text("x" * 90)) == 64


def test_known_uids_are_kept_and_others_made():
    """What the scanner gave stays; what is made is the same each time, and differs by study and frame."""
    made = SeriesNames("p", "s", "d", 1)
    assert made.study_uid == SeriesNames("other", "s", "e", 2).study_uid != SeriesNames("p", "t", "d", 1).study_uid
    assert made.frame_uid("ct") != made.frame_uid("check")
    known = SeriesNames("p", "s", "d", 1, study_instance_uid="1.2.3", frame_of_reference_uid="1.2.4")
    assert (known.study_uid, known.frame_uid("ct")) == ("1.2.3", "1.2.4")
    assert made_uid("a", "b") != made_uid("ab")
