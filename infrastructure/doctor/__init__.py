"""What ``enchanted doctor`` looks at. Every check ends in time, changes nothing, and says what to do."""
