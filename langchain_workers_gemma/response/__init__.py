"""Response bytes in, events out, then a message or chunks. Pure."""
