"""Commands that train more than once to answer a question: a learning-rate test, a comparison, a sweep."""
