"""The Hugging Face Hub: reading a release from it and publishing one there."""
