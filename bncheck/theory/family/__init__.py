"""What holds for the gradients of the family: the statements, by what they speak of."""
