"""How the arm inserts the needles of an array, and from where."""
