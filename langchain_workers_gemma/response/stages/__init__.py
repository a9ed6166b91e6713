"""The steps between the decoder and the message: each takes the events of a reply and returns events."""
