"""Loading: files and frames into layers, checked by the declaration, with a quarantine for what cannot be taken."""
