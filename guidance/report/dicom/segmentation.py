"""The marked parts as a DICOM Segmentation on the slices of the planning series."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from guidance.report.dicom.marked import MarkedPart, PartKind
from guidance.report.dicom.objects import (
    DATE,
    MANUFACTURER,
    NOTICE,
    PRIVATE_SCHEME,
    SHORT_NOTICE,
    SOFTWARE_VERSION,
    TIME,
    made_uid,
    save,
    text,
)

# Keywords of SNOMED CT codes in pydicom's dictionary, by the names that our cases use. Sides are in the label.
STANDARD_CODES = {
    "aorta": "Aorta",
    "colon": "Colon",
    "duodenum": "Duodenum",
    "esophagus": "Esophagus",
    "gallbladder": "Gallbladder",
    "heart": "Heart",
    "inferior_vena_cava": "InferiorVenaCava",
    "kidney_left": "Kidney",
    "kidney_right": "Kidney",
    "liver": "Liver",
    "pancreas": "Pancreas",
    "small_bowel": "SmallIntestine",
    "spinal_cord": "SpinalCord",
    "spleen": "Spleen",
    "stomach": "Stomach",
    "superior_mesenteric_artery": "SuperiorMesentericArtery",
    "superior_mesenteric_vein": "SuperiorMesentericVein",
}


def write_segmentation(parts: tuple[MarkedPart, ...], sources: list[Any], path: Path, number: int) -> Any:
    """Write one binary segment for each part; parts may overlap.

    Args:
        parts: What is marked, on the grid of the sources.
        sources: The planning series, in the order of k.
        path: The file.
        number: Number of the series.

    Returns:
        The data set written.

    Raises:
        OSError: The disk refused.
    """
    import highdicom

    # Segment first in memory, last in shape: the library takes one frame at a time.
    pixels = np.moveaxis(np.stack([p.mask.transpose(2, 1, 0) for p in parts]).view(np.uint8), 0, -1)
    marks = [sources[0].SeriesInstanceUID, *(p.digest for p in parts)]
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_description(n + 1, part) for n, part in enumerate(parts)],
        series_instance_uid=made_uid("segmentation series", *marks),
        series_number=number,
        sop_instance_uid=made_uid("segmentation", *marks),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=NOTICE,
        software_versions=SOFTWARE_VERSION,
        device_serial_number="0",
        content_description=NOTICE,
        series_description=f"Target, lesion and structures: {SHORT_NOTICE}",
        content_label="NEEDLEWORK",
    )
    _without_clock(segmentation, made_uid("segmentation dimensions", *marks))
    save(segmentation, path)
    return segmentation


def _description(number: int, part: MarkedPart) -> Any:
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.sr.codedict import codes

    abnormal, anatomical = codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.AnatomicalStructure
    if part.kind is PartKind.TARGET:
        category, concept = abnormal, codes.SCT.Neoplasm
    elif part.kind is PartKind.ABLATION_ZONE:
        category, concept = abnormal, CodedConcept("ABLATION_ZONE", PRIVATE_SCHEME, "Predicted ablation zone")
    elif part.name in STANDARD_CODES:
        category, concept = anatomical, getattr(codes.SCT, STANDARD_CODES[part.name])
    else:
        own = CodedConcept(text(part.name.upper(), 16), PRIVATE_SCHEME, text(part.name))
        category, concept = anatomical, own
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=text(part.name),
        segmented_property_category=category,
        segmented_property_type=concept,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=MANUFACTURER, version=SOFTWARE_VERSION, family=codes.cid7162.MorphologicalOperations
        ),
    )


def _without_clock(segmentation: Any, organization_uid: str) -> None:
    """Replace what the library takes from the clock and from chance, so that the same input gives the same bytes."""
    segmentation.ContentDate = segmentation.SeriesDate = segmentation.InstanceCreationDate = DATE
    segmentation.ContentTime = segmentation.SeriesTime = segmentation.InstanceCreationTime = TIME
    for equipment in segmentation.ContributingEquipmentSequence:
        equipment.ContributionDateTime = DATE + TIME
    segmentation.DimensionOrganizationSequence[0].DimensionOrganizationUID = organization_uid
    for index in segmentation.DimensionIndexSequence:
        index.DimensionOrganizationUID = organization_uid
