"""Tests of the player: what is served, shown and stepped, and what is refused."""
