"""Build one request from LangChain messages, tools and settings. Does no I/O."""
