"""Loops without walls: acquire, localize, decide, record."""
