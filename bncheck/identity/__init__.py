"""WHICH LAYER IS IT? The readings of somebody's code, tried on numbers."""
