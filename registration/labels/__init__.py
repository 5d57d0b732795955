"""Label images: what each number stands for, read from any common form and brought onto the grid of the CT."""
