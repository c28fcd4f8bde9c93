"""What people type: the `pygmy` command."""
