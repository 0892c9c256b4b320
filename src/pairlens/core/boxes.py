"""The bounding box of what a photo shows."""

# (x_1, y_1, x_2, y_2) in pixels from the top left corner; x_2 and y_2 are exclusive.
Box = tuple[int, int, int, int]
