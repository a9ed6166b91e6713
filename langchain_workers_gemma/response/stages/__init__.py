"""One module for each repair of a response, applied between the decoder and the message."""
