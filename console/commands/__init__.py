"""What the commands do: the heavy imports live here."""
