"""Text as search and answers see it: sentences, normal forms, tokens, terms, stop words."""
