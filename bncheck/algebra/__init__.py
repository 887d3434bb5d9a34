"""WHAT IS A PROGRAM? Indexed tensors, means and sums over indices, steps; and the layers."""
