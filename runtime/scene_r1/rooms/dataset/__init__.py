"""Rooms on disk: recordings, instance images, scene graphs and questions in one folder."""
