"""Return answers in the form of a schema: the implementation of `with_structured_output`."""
