"""What a program is: indexed tensors, means and sums over indices, and steps."""
