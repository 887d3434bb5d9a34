"""What is published about batch norm: what is true of it, and what is not."""
