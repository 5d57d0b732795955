"""The report that an operator reads and a radiologist files."""
