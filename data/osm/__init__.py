"""OpenStreetMap extracts as rows of Baige's layers."""
