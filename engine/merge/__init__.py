"""From what single tiles saw to whole buildings."""
