"""Image datasets for few-shot streams. None so far: sine waves need none."""
