"""A dancer: joints, moves, the camera and the pose image, shared by the demo and the player."""
