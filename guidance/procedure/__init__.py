"""Execution: ports, steps, interlocks, guard, executor, journal."""
