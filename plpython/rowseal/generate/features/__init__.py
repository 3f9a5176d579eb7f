"""The features of a declaration, a module each; the order is that in which they fill a slot."""

from __future__ import annotations

from ..feature import Feature
from ..subject import Subject
from . import cure, digests, feed, names, writers


def added(subject: Subject) -> list[Feature]:
    """Gives a subject the features that its declaration asks for, and returns them."""
    wish = subject.wish
    features: list[Feature] = []
    if wish.name_column:
        features.append(names.Names(subject))
    if wish.digests:
        subject.signed = digests.by_digest(subject)
        features.append(digests.Digests(subject))
    if wish.public_key:
        features.append(cure.Cure(subject))
    if wish.feed:
        features.append(feed.Feed(subject))
    if wish.has_writers:
        features.append(writers.Writers(subject))
    subject.features = features
    return features
