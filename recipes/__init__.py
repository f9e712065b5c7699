"""How what ships with pleura was made: commands that anybody with the radiographs can repeat."""
