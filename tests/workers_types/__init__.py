"""What Cloudflare's own types say of the bodies that the sandbox accepts."""
