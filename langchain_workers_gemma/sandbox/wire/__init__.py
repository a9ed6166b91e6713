"""From a completion to the bytes of a reply or a stream, as the service or a dialect writes them."""
