"""SOMEBODY'S CODE: loaded, called and watched in a process of its own; NumPy, no SymPy."""
