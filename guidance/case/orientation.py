"""The proof that an imported set is neither mirrored nor turned, nor labelled against its image.

Three things that do not depend on each other: two readers of the label file agree where its structures lie; the
structures lie on tissue of their density inside the skin of the CT; and anatomy has them on their sides. Left and right
must be told by anatomy, or confirmed by a named person: a mirrored patient looks like a patient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from guidance.case.label_canvas import patient_axes
from guidance.case.landmarks import ANY_PHASE, WAYS, check_densities, check_sides, shown, told_ways
from kinematics.errors import InvalidInputError
from registration.images.volume import Volume
from registration.labels import rtstruct
from registration.labels.label_set import LabelSet
from registration.labels.moments import Moment, moments
from registration.labels.second_route import centroids_mm

ROUTES_MM = 0.1
CONTOURS_VOXELS = 0.25
"""Contours and the voxels made of them agree to a quarter of a voxel: enough to tell a shift by half of one."""
LANDMARKS = 6
"""The largest structures are compared; a mistake of geometry moves every one of them."""
OUTSIDE_SHARE = 0.05
"""Labels outside the skin: none but at its edge."""


_TELLING = dict(
    zip(
        WAYS,
        (
            "liver and spleen, or both kidneys",
            "pancreas and aorta, or liver and the spine",
            "lungs and liver, or kidneys and liver",
        ),
        strict=True,
    )
)
"""What tells each way."""


@dataclass(frozen=True)
class OrientationProof:
    """What was proved, and what was not.

    Args:
        route: What the second reader is.
        apart_mm: Largest distance between the two readers' centroids.
        landmarks: Structures compared.
        sides: Distance [mm] of each pair of landmarks, by a sentence.
        densities: Median [HU] of each landmark that was looked at.
        untold: What of left and right, front and back, head and foot anatomy does not tell.
        confirmed_by: Who vouches for what anatomy does not tell; None: nobody was asked.
    """

    route: str
    apart_mm: float
    landmarks: int
    sides: Mapping[str, float]
    densities: Mapping[str, float]
    untold: tuple[str, ...]
    confirmed_by: str | None

    def told(self) -> dict[str, str]:
        """Return the proof as provenance: `orientation` and `sides`."""
        densities = ", ".join(f"{name} {value:g} HU" for name, value in self.densities.items())
        untold = ""
        if self.untold:
            untold = f"; WARNING: {', '.join(self.untold)} not told by anatomy (too few of the named organs)"
            untold += f", confirmed by {self.confirmed_by}" if self.confirmed_by else ""
        return {
            "orientation": f"two readers agree to {self.apart_mm:.3f} mm on the centroids of {self.landmarks} "
            f"structures ({self.route}); on the CT: "
            + (densities or "WARNING: no lung, bone or liver whose density shows that the labels lie on it"),
            "sides": f"{len(self.sides)} pairs of landmarks lie on their sides: " + shown(self.sides) + untold,
        }


def prove_orientation(
    came: LabelSet, labels: Volume, names: Mapping[str, int], ct: Volume, body: Volume, confirmed_by: str | None
) -> OrientationProof:
    """Prove it, or refuse.

    Args:
        came: The labels as read, on their own grid.
        labels: The same on the grid of the CT.
        names: Label by structure name.
        ct: CT [HU].
        body: Skin mask.
        confirmed_by: Who vouches for the ways that anatomy does not tell.

    Raises:
        InvalidInputError: The two readers disagree, or there is no second one; labels that do not lie on the CT, named
            as mirrored where a mirror image of them does; landmarks on the wrong side; left and right, front and
            back or head and foot not told by anatomy, and confirmed by nobody.
    """
    route, apart_mm, count = _two_readers(came)
    densities = _on_the_ct(ct, labels, names, body)
    sides = check_sides(labels, names)
    ways = told_ways(sides)
    untold = tuple(way for way in WAYS if way not in ways)
    vouched = confirmed_by.strip() if confirmed_by else ""
    ways_words = ", nor ".join(way.replace(" and ", " from ") for way in untold)
    if untold and not vouched:
        raise InvalidInputError(
            f"nothing in the labels tells {ways_words}, so a mirrored patient would not show",
            value="named structures: " + ", ".join(sorted(names)[:12]),
            file=labels.file,
            remedy=f"label {'; '.join(_TELLING[way] for way in untold)}, under their names; or have somebody compare "
            "the images with the patient and give --orientation-confirmed-by NAME",
        )
    return OrientationProof(route, apart_mm, count, sides, densities, untold, vouched or None)


def _two_readers(came: LabelSet) -> tuple[str, float, int]:
    first: dict[int, Moment] = {}
    for layer in came.layers:
        first.update(moments(layer))
    largest = sorted(first, key=lambda n: -first[n].voxels)[:LANDMARKS]
    route, second = centroids_mm(came, largest)
    if not second:
        raise InvalidInputError(
            "where the labels lie cannot be checked by a second reader: the form of the file is unusual",
            file=came.file,
            remedy="save it as NIfTI, as NRRD with raw or gzip encoding in one file, or as DICOM SEG",
        )
    limit = ROUTES_MM
    if came.kind == rtstruct.KIND:
        limit = max(ROUTES_MM, CONTOURS_VOXELS * float(came.layers[0].spacing_mm.max()))
    apart = {n: float(np.linalg.norm(first[n].centre_mm - at)) for n, at in second.items()}
    worst = max(apart, key=lambda n: apart[n])
    if apart[worst] > limit:
        raise InvalidInputError(
            f"two readers of the labels disagree on where {came.called(worst)} lies ({route}, against the first)",
            value=round(apart[worst], 3),
            limit=limit,
            unit="mm",
            file=came.file,
            remedy="export the labels again: their header can be read in two ways",
        )
    return route, apart[worst], len(apart)


def _on_the_ct(ct: Volume, labels: Volume, names: Mapping[str, int], body: Volume) -> dict[str, float]:
    """Return the landmarks' densities. Raises InvalidInputError, naming the mirror image that would lie on the CT."""
    try:
        return _fits(ct, labels, names, body)
    except InvalidInputError as error:
        order, _ = patient_axes(ct)
        for flips in sorted(product((False, True), repeat=3), key=sum)[1:]:
            axes = tuple(order[n] for n in range(3) if flips[n])
            mirrored = labels.with_voxels(np.flip(labels.voxels, axes).copy())
            try:
                _fits(ct, mirrored, names, body)
            except InvalidInputError:
                continue
            ways = ", ".join(way for way, flipped in zip(WAYS, flips, strict=True) if flipped)
            raise InvalidInputError(
                f"the labels are mirrored against the CT: with {ways} exchanged they lie on it, and as they are not",
                value=error.value,
                limit=error.limit,
                unit=error.unit,
                file=labels.file,
                remedy="export the labels again with their direction matrix; never flip an axis by hand",
            ) from error
        raise


def _fits(ct: Volume, labels: Volume, names: Mapping[str, int], body: Volume) -> dict[str, float]:
    labelled = labels.voxels != 0
    share = float((labelled & (body.voxels == 0)).sum()) / max(1, int(labelled.sum()))
    if share > OUTSIDE_SHARE:
        raise InvalidInputError(
            "the labels do not lie on the image: part of them lies outside the skin",
            value=round(100.0 * share, 1),
            limit=100.0 * OUTSIDE_SHARE,
            unit="%",
            file=labels.file,
            remedy="use the labels that were made from this image",
        )
    return check_densities(ct, labels, names, ANY_PHASE)
