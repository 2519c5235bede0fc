"""Blocks that methods and recognizers share, in the state-dict names of the published weights."""
