"""`python -m rtdecode`: the command line, and the way in which the session starts its workers."""

from rtdecode.cli import main

if __name__ == "__main__":
    main()
