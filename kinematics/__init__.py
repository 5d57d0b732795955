"""Frames, units and errors; the arm: model, tool, forward and inverse kinematics, motion."""
