"""The electric field, the lesion and the pulses."""
