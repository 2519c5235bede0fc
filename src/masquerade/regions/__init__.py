"""What can be seen in frames: detectors, boxes, tracking, masks, cuts, templates."""
