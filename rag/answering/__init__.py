"""A question and its passages -> an Answer with citations."""
