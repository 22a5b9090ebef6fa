"""`python -m tallystick.runtime.devchain`: the dev chain as a process."""

from tallystick.runtime.devchain.process import main

if __name__ == "__main__":
    main()
