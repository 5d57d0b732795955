"""Parallel electrode arrays around vessels, within the reach of the arm."""
