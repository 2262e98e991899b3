"""What nettax costs: on a host under load, beside other tools, at start-up and at each reading."""
