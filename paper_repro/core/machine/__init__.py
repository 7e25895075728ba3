"""What the computations ask of the machine: its cores, its devices, compiled code kept on disk."""
