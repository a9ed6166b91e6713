"""The inspector: a page at the sandbox's root that shows each request, its prompt and its response, live.

Plain HTML, CSS and JavaScript out of `static/`, without a build step. Everything that it shows comes from others,
so the page puts it in as text, never as markup, and its content security policy has the browser enforce that.
"""

from .recorder import ACCESS_LOG
from .routes import Inspector

__all__ = ["ACCESS_LOG", "Inspector"]
