"""Calibrations of tools and of the tracker to the robot."""
