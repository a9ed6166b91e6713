"""The parts that the chat model and the embeddings share: fields, credentials, arguments, profile and caches."""
