"""How somebody's code wants to be called: each convention finds, runs and exchanges."""
