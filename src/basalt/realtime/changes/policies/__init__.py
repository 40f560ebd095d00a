"""Who may see a changed row: the policies of its table for each role and set of claims."""
