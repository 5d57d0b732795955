"""How far a needle may stray before a rule breaks."""
