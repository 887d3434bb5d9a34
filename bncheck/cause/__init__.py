"""IF NOT, WHY? Changed programs that give the user's numbers, and the terms that are off."""
