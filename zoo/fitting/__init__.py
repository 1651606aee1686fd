"""The loop that fits any objective, one turn after another."""
