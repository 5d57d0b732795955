"""How sure an array is, under every error of the budget."""
