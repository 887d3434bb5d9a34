"""IS IT THAT GRADIENT? Observations against the reference, and what follows."""
