"""How a bundle comes to be: simulated clips, loss, loop."""
