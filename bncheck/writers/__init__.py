"""HOW IS IT WRITTEN DOWN? As NumPy code, LaTeX, HTML, Unicode, pictures and data."""
