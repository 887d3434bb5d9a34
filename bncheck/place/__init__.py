"""AND WHERE? The line that first goes wrong, and what would mend it."""
