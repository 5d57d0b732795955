"""The independent judge: needles found in an image, measured against the protocol."""
