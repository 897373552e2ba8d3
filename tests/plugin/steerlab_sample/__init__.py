"""What another package adds to steerlab."""
