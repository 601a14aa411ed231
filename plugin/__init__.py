"""What a person touches: menu, environment, dialogs."""
