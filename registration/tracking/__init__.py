"""The tracker port, the age of samples, and recordings."""
