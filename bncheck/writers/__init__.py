"""How a program is written down: NumPy, LaTeX, pictures, JSON."""
