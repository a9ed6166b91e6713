"""The inspector: a page at the root of the sandbox that shows each request, its prompt and its response, live.

The page is plain HTML, CSS and JavaScript in `static/`, without a build step. It shows the text of clients and models,
so it inserts text only as text nodes, never as markup, and its content security policy makes the browser enforce that.
"""

from .recorder import ACCESS_LOG
from .routes import Inspector

__all__ = ["ACCESS_LOG", "Inspector"]
