"""An index, questions and feedback -> better models."""
