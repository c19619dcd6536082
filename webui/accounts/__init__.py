"""Who may come in, as what, and for how long: accounts, sign-ins and keys."""
