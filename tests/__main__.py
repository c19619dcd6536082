"""`python3 -m tests [pytest's arguments] [--soak] [--install]`: all tests, the browser's too.

Standard library only until everything is installed. `--install` stops there.
"""

import sys

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.exit("The tests need Python 3.11 or newer; this is " + sys.version.split()[0])

if __name__ == "__main__":
    from webui.bootstrap import enter

    enter("tests", sys.argv[1:], develop=True)

    from tests.running import main

    sys.exit(main(sys.argv[1:]))
