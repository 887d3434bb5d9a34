"""WHAT FOLLOWS FROM IT? The backward pass, its closed form, the Jacobian, an exact witness."""
