"""The engines that reply to chat requests: the mock model and an upstream server with OpenAI's API."""
