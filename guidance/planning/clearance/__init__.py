"""Exact distances of shafts and exposures, the skin, and the electrodes that a plan states."""
