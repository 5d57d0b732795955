"""What the operator asks of a plan beyond the rules."""
