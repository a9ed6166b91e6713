"""Check the bodies that the sandbox accepts against Cloudflare's own types."""
