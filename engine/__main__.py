"""``python -m cadastral_vectorizer.engine``."""

import sys

from .cli import main

sys.exit(main())
