"""What a person looks at: tables of text, frames, pictures."""
