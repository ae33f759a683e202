"""SAM2 on the device, part by part and as a whole video, against the original in torch: `python -m benchmarks.sam2`."""
