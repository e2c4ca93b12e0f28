"""Test vectors as text, and the results that come back."""
