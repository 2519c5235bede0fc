"""Anonymizer x dataset -> clips on disk, read by a DataLoader."""
