"""One formula: as a line of Unicode, in LaTeX, in MathML, as NumPy code."""
