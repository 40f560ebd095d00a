"""The web console, server-rendered, under `/studio`. So far it shows where things are and the Inbox."""

from basalt.studio.service import StudioService

__all__ = ["StudioService"]
