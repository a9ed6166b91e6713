"""Write a completion as the bytes of a reply or a stream, as the service or a dialect does."""
