"""What several pages and pictures share."""
