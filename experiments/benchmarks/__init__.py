"""Speed and memory of the package compared with straightforward programs on the same machine."""
