"""What follows from a program: its backward pass, closed form and exact witness."""
