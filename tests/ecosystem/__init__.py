"""LangGraph's and LangChain's own packages on the sandbox; `make test-ecosystem` installs them and runs the checks."""
