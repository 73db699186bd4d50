"""What a service tells of itself: pages for Prometheus and probes, log lines, the times of each hop."""
