"""What a run hands to other programs as DICOM."""
