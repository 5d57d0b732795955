"""From corridors to arrays: the family, its lesions, and the complete search."""
