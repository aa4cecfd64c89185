"""Many models at once: recipes, designs, the lockstep trainer."""
