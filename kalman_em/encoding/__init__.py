"""Values as JSON and back, exactly: numbers, row labels, models and their forms, and a layout that people can read."""
