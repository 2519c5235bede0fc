"""Train recognizers on labels, and anonymizers against adversaries."""
