"""The service behind the routes: authentication, AI Gateway, the queue, the catalogue and answers."""
