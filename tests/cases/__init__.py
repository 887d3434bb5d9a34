"""Backward passes of batch norm, wrong and right, with the inputs on which to look at them."""
