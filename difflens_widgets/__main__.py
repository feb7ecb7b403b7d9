"""``python -m difflens_widgets`` is the ``difflens`` command."""

import sys

from .cli.commands import main

sys.exit(main())
