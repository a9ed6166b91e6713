"""Google's Gemma models on Cloudflare Workers AI, for LangChain and LangGraph."""
