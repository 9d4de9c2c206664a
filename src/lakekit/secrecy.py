"""Words by which a name sounds like that of a secret, whose value then stands in no file and in no message."""

from __future__ import annotations

WORDS = r"secret|passw|passphrase|credential|(?:private|api|access|account|sas|shared).?key"
"""A pattern for any part of a name; ``pwd`` and ``token`` mean a secret only in some places, which add them."""
