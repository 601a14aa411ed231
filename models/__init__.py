"""The networks, their losses and the packages their weights travel in."""
