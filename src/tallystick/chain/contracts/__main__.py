"""`python -m tallystick.chain.contracts`: write the artifact of each source anew."""

import sys
from pathlib import Path

from tallystick.chain.contracts.compiling import compile_folder

if __name__ == "__main__":
    sys.stdout.writelines(f"wrote {name}.json\n" for name in compile_folder(Path(__file__).parent))
