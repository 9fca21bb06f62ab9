"""What a controller learns from reports, one quantity a file. No clocks: times come with the reports."""
