"""HOW ARE NUMBERS COMPARED? Trials, the reference, rounding bounds, differences, layouts."""
