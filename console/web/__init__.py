"""The static page of the console."""
