"""Images with their geometry: the volume, image files, DICOM series."""
