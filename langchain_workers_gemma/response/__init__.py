"""Parse response bytes into events, and build a message or chunks from them. Does no I/O."""
