"""Image datasets for few-shot streams. Sine waves need none; see the roadmap in README.md."""
