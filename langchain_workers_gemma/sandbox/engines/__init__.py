"""What answers a chat request: the mock model, or an OpenAI-compatible server behind the sandbox."""
