"""An MCP server over stdio whose tools answer with text, several blocks, an image, a link, a PDF and an error."""

import base64
from pathlib import Path
from typing import Any

from mcp.server.fastmcp import FastMCP
from mcp.types import BlobResourceContents, EmbeddedResource, ImageContent, ResourceLink, TextContent
from pydantic import AnyUrl

PNG = base64.b64encode((Path(__file__).parents[1] / "data" / "square.png").read_bytes()).decode()

server = FastMCP("weather")


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"24 degrees in {city}"


def get_forecast(city: str) -> list[Any]:
    """Get the daily forecast for a city."""
    return [
        TextContent(type="text", text=f"Monday in {city}: 20 degrees"),
        TextContent(type="text", text="Tuesday: 25"),
    ]


def get_map(city: str) -> list[Any]:
    """Draw a map of a city."""
    return [
        TextContent(type="text", text=f"A map of {city}"),
        ImageContent(type="image", data=PNG, mimeType="image/png"),
    ]


def get_report(city: str) -> list[Any]:
    """Get a link to the climate report of a city."""
    return [ResourceLink(type="resource_link", uri=AnyUrl("https://example.com/report"), name=f"Report on {city}")]


def get_manual(city: str) -> list[Any]:
    """Get the manual of a city as a PDF."""
    pdf = base64.b64encode(b"%PDF-1.4").decode()
    manual = BlobResourceContents(uri=AnyUrl("file:///manual.pdf"), mimeType="application/pdf", blob=pdf)
    return [TextContent(type="text", text=f"The manual of {city}"), EmbeddedResource(type="resource", resource=manual)]


def get_tide(city: str) -> str:
    """Get the tide in a city. It always fails."""
    raise ValueError(f"no sea at {city}")


for tool in (get_weather, get_forecast, get_map, get_report, get_manual, get_tide):
    server.add_tool(tool)

if __name__ == "__main__":
    server.run()
