"""What is known of each language, a module a language."""
