"""The questions that the model answers, one by one, for one host and one guest."""
