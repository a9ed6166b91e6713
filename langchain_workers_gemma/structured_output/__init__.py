"""`with_structured_output`: its methods and its parser."""
