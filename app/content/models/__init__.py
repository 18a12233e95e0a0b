"""What an organisation publishes: pages in a tree, posts in a stream, topics over both, and the menu; and what visitors send.

The rows here are the live ones that visitors read. `html` is rendered once, at the time of change, so that
reading renders nothing.
"""

from app.content.models.entry import Entry, EntryTopic, Redirect, Topic, href
from app.content.models.imports import Import
from app.content.models.media import Media
from app.content.models.menu import MenuItem
from app.content.models.submission import Submission, find_submission

__all__ = [
    "Entry",
    "EntryTopic",
    "Import",
    "Media",
    "MenuItem",
    "Redirect",
    "Submission",
    "Topic",
    "find_submission",
    "href",
]
