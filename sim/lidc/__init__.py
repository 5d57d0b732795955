"""The real case: a public CT with its labels, and what is added to them."""
