"""HOW IS IT SAID? Errors, codes and their sentences, the report as data, and the forms it takes."""
