"""What can be seen in frames: faces, people, boxes, their tracks, flow."""
