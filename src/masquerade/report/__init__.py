"""Results as a page: everything shown is read from a receipt, nothing is computed from pixels."""
