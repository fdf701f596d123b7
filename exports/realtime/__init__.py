"""Live updates: the worker and the web processes publish events, WebSockets pass them on to the pages."""

SOCKET_PATH = "/ws/exports/"
"""The path of the user's socket below the path of the site; that of one export ends with its id and a slash.

Pages read it from the templates.
"""
