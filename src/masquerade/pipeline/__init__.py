"""Anonymize one file or many: configuration, stream of frames, verification, receipts."""
