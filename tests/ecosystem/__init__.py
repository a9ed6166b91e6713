"""Checks of packages of LangGraph and LangChain with the sandbox. `make test-ecosystem` installs and runs them."""
