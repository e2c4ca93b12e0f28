"""Operations under test: what is expected of one, cases, implementations, explanations and known defects."""
