"""Known defects, and which of them explains what was seen."""
