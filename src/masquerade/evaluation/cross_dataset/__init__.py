"""Two datasets in one evaluation: merged, or trained on one and scored on another."""
