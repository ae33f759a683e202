"""What the small model learns from: views of rooms with what each pixel shows, and questions with their answers."""
