"""Print the reference page of the configuration, or with `--document` the commented default document."""

import sys

from wirecrypt.settings.reference import document, page

sys.stdout.write(document() if "--document" in sys.argv[1:] else page())
