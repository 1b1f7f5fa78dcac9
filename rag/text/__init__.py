"""What search and answers see of a text: sentences, words, tokens, terms and stop words."""
