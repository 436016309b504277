"""The endpoints of clip-retrieval's back: what they ask for, and answers in its form."""
