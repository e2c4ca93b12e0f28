"""Estimating a row of errors from a few of them: embeddings, completion, designs, beliefs, strategies."""
