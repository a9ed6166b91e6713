"""Exchange requests and responses with the service, without I/O: actions, attempts, retries and error mapping."""
