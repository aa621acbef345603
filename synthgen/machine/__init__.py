"""What the operating system gives: child processes, memory and disk, the start of the program."""
