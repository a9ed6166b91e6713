"""The engines that answer chat requests: the mock model, or an OpenAI-compatible server behind the sandbox."""
