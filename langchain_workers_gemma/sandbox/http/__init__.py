"""HTTP on loopback: routes, connections and the server's thread."""
