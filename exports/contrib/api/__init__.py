"""The JSON API for programs, by django-ninja: the same services, permissions and audit log as the pages."""
