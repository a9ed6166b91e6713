"""LangChain messages, tools and settings in, one request out. Pure."""
