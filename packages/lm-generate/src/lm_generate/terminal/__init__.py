"""What the command line does besides writing: commands, the dialogue, what is shown and how."""
