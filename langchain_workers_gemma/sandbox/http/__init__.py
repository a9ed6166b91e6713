"""HTTP on loopback: routes, connections and the thread of the server."""
