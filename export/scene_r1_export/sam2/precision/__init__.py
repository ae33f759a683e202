"""SAM2's graphs in fewer bits: half precision for all four, eight bits for the image encoder."""
