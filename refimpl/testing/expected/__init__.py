"""What is expected of an implementation: behaviour, cases that break things, laws, and explanations."""
