"""One video or many: config, frame stream, one file (fail closed, verified), batch, receipt."""
