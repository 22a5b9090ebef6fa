"""`python -m tallystick`: the same as the command `tally`; the supervisor starts its parts so."""

from tallystick.cli import main

if __name__ == "__main__":
    main()
