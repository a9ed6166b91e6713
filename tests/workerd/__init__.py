"""Cloudflare's own `env.AI` client in workerd, over the sandbox; see `run.py`."""
