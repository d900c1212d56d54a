"""What a browser page does to a policy, simulated: conditions as data, episodes, figures with intervals."""
