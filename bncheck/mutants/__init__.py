"""WHAT WOULD A TEST MISS? Wrong backward passes in the place of a function while its tests run."""
