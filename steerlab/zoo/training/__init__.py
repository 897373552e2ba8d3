"""How the embedded models were trained, and how their numbers are measured again."""
