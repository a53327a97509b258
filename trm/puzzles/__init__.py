"""What a kind of puzzle is: characters and tokens, rules, questions, symmetries."""
