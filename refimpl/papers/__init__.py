"""The papers of the field, claim by claim."""
