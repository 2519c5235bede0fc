"""masquerade: anonymize any video, and measure how far that holds."""

from masquerade.anonymizer import Anonymized, Anonymizer

__version__ = "0.1.0"
__all__ = ["Anonymized", "Anonymizer"]
