"""`python -m webui`: start; from a bare checkout, install into `.venv` first.

Standard library only, in words that old Pythons can read, so that they can say what is missing.
"""

import sys

NEEDED = (3, 11)

if sys.version_info < NEEDED:
    sys.exit(
        "Hearthside needs Python 3.11 or newer (>= 3.11); this is Python "
        + ".".join(str(part) for part in sys.version_info[:3])
        + ". Install a newer one and start with it, for example: python3.12 -m webui"
    )
if sys.platform == "win32":
    sys.exit("Hearthside runs on Linux and macOS; on Windows start it inside WSL")

if __name__ == "__main__":
    from webui.bootstrap import enter

    enter("webui", sys.argv[1:])

    from webui.cli import main

    main()
